"""Store a model's weights as 8-bit integers with a scale per output channel: half the size of float16.

    python training/quantize_weights.py MODEL -o SMALL [--layers up_blocks.0 up_blocks.1]

MODEL is a folder of diffusers with ``unet/`` (as `train_dift_mini.py` writes it), or one with a single file of
weights. With --layers, blocks after the last of these layers, which features never need, are left out. The command
prints how far the weights moved. Use the new folder like the old one: ``--model SMALL``.
"""

import argparse
import math
import shutil
import sys
from pathlib import Path

from dift_edit.errors import DiftEditError, OutputError
from dift_edit.features.weights import INT8, read_weights, weight_files, write_int8, write_sums


def needed(name: str, layers: list[str]) -> bool:
    """Whether a weight is used before the last of some layers of a U-Net has its output."""
    last = max((int(layer.split(".")[1]) for layer in layers if layer.startswith("up_blocks.")), default=-1)
    if name.startswith("up_blocks."):
        return int(name.split(".")[1]) <= last
    return not name.startswith(("conv_norm_out.", "conv_out."))


def quantize(model: Path, output: Path, layers: list[str]) -> float:
    """Write the folder; returns the relative change of the weights (root of the mean square)."""
    if output.exists():
        raise OutputError(f"{output} exists already: choose a new folder.")
    inner = Path("unet") if (model / "unet").is_dir() else Path()
    (file,) = weight_files(model / inner)
    state = {name: value for name, value in read_weights(file).items() if not layers or needed(name, layers)}
    shutil.copytree(model, output, ignore=shutil.ignore_patterns("*.safetensors", "SHA256SUMS"))
    small = output / inner / f"{file.name.split('.')[0]}{INT8}safetensors"
    write_int8(state, small)
    write_sums(output / inner)
    after = read_weights(small)
    error = sum(float((value.float() - after[name].float()).square().sum()) for name, value in state.items())
    return math.sqrt(error / sum(float(value.float().square().sum()) for value in state.values()))


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--layers", nargs="*", default=[])
    args = parser.parse_args(arguments)
    try:
        change = quantize(args.model, args.output, args.layers)
    except DiftEditError as error:
        print(f"quantize_weights: {error}", file=sys.stderr)
        return 2
    size = sum(file.stat().st_size for file in args.output.rglob("*.safetensors"))
    print(f"{args.output}: {size / 1e6:.2f} MB; the weights moved by {change:.2%} of their norm")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
