"""``dift-edit features``: the features of images as safetensors files."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HELP = "write the features of images as safetensors files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the pictures, the model and its settings."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="images")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder for the files; created if needed")
    parser.add_argument(
        "--model", default="mini", help="a model, a preset or a folder, see 'dift-edit models' (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: %(default)s)")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], dest="settings",
        help="a setting of the model's featurizer, such as timestep=51 or up_block=[1,2]; may be repeated",
    )  # fmt: skip
    parser.add_argument("--half", action="store_true", help="store 16-bit numbers instead of 32-bit ones")


def run(args: argparse.Namespace) -> int:
    """Write one file a picture; pictures that cannot be read are named and the others done."""
    from dift_edit.errors import DiftEditError, OutputError
    from dift_edit.features.registry import load_featurizer

    featurizer = load_featurizer(args.model, device=args.device, **dict(map(_setting, args.settings)))
    folder = Path(args.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made ({error.strerror}): choose another one.") from error
    failed, taken = 0, set()
    for image in map(Path, args.images):
        name, number = image.stem, 2
        while name in taken:
            name, number = f"{image.stem}-{number}", number + 1
        taken.add(name)
        try:
            path = _write(image, folder / f"{name}.safetensors", featurizer, args)
        except DiftEditError as error:
            print(f"{image}: {error}", file=sys.stderr)
            failed += 1
        else:
            print(path)
    return 1 if failed else 0


def _write(image: Path, path: Path, featurizer: Any, args: argparse.Namespace) -> Path:
    """One picture's features with everything that made them in the metadata."""
    from safetensors.torch import save

    from dift_edit._version import __version__
    from dift_edit.atomic_files import write_atomic
    from dift_edit.features.fusion import FusedFeaturizer
    from dift_edit.features.network import NetworkFeaturizer
    from dift_edit.features.presets import PRESETS
    from dift_edit.imaging.files import as_image

    picture = as_image(image)
    features = featurizer(picture, seed=args.seed)
    preset = PRESETS.get(args.model)
    parts = featurizer.featurizers if isinstance(featurizer, FusedFeaturizer) else [featurizer]
    settings = {part.model.id: vars(part.settings) for part in parts if isinstance(part, NetworkFeaturizer)}
    metadata = {
        "image": str(image),
        "image_digest": picture.digest,
        "image_size": json.dumps(features.image_size),
        "fingerprint": features.fingerprint,
        "model": json.dumps(vars(featurizer.model)),
        "settings": json.dumps(settings, default=str),
        "preset": json.dumps({"name": preset.name, "version": preset.version} if preset else None),
        "seed": str(args.seed),
        "dift_edit": __version__,
    }
    data = features.data.cpu().contiguous()
    raw = save({"features": data.half() if args.half else data}, metadata)
    write_atomic(path, lambda file: file.write(raw))
    return path


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, where the value is JSON or else taken as words."""
    from dift_edit.atomic_files import parse_json
    from dift_edit.errors import ModelError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ModelError(f"The setting {text!r} is not NAME=VALUE: write, say, timestep=51.")
    try:
        return name, parse_json(value)
    except ValueError:
        return name, value
