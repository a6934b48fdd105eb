"""How fast each stage is beside the straightforward way, in one run.

    python benchmarks/performance.py [--quick] [--markdown docs/performance.md]

Prints Markdown: extraction, matching, locate, composite, a batch and a clip, each against a plain reference in the same
run; and a roofline of `dift-mini`. For the roofline, torch counts the floating-point operations, hooks on the layers
count the bytes that they read and write, and the machine's matrix-product and copying peaks are measured here. How time
and memory grow: growth.py. More detail: extraction.py, matching.py, compositing.py, batch.py, sequence.py.
"""

import argparse
import resource
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import dift_edit as de
from dift_edit.atomic_files import write_text
from dift_edit.samples import FOLDER, sample_job

LINES = []
INTRODUCTION = """# Speed and memory

Written by the command below, in one run on one machine: compare the columns of a row, not rows of different runs. The
features are those of `mini` where nothing else is said. A batch uses one arithmetic thread per image, so its bits
do not depend on the number of workers. Extraction with Stable Diffusion and matching at its size:
[performance-features.md](performance-features.md); sets of photos: [batch.md](batch.md); how time and memory grow:
[growth.md](growth.md).

"""


def seconds(call, repeats=3):
    """The median time of a call after one that does not count."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def peak_flops(side=1536):
    """What a large float32 matrix product reaches on this machine."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    return 2 * side**3 / seconds(lambda: a @ b, 5)


def peak_bytes(count=1 << 26):
    """Bytes a second, read and written, when a large array is copied."""
    a, b = torch.rand(count), torch.empty(count)
    return 8 * count / seconds(lambda: b.copy_(a), 5)


def row(stage, ours, reference, what):
    """One line of the table."""
    say(f"| {stage} | {ours:.3f} s | {reference:.3f} s | {reference / ours:.1f} | {what} |")


def say(line):
    """Print a line and keep it for the page."""
    print(line, flush=True)
    LINES.append(line)


def bytes_of(network, call):
    """What the layers of a network read and write in a call: inputs, outputs and weights, each once."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        tensors = [*inputs, *module.parameters(), *(output if isinstance(output, tuple) else (output,))]
        total += sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return total


def extraction(picture):
    """dift-mini up to the wanted block, against the whole U-Net of diffusers; and the roofline."""
    featurizer = de.load_featurizer("dift-mini")
    plain = type(featurizer.unet).from_config(featurizer.unet.config)
    plain.load_state_dict(featurizer.unet.state_dict(), strict=False)  # blocks that never run are not in the package
    inputs = []
    hook = featurizer.unet.register_forward_pre_hook(
        lambda _module, args, kwargs: inputs.append((args, kwargs)), with_kwargs=True
    )
    featurizer(picture)
    hook.remove()

    @torch.inference_mode()
    def whole():
        for args, kwargs in inputs:
            plain(*args, **kwargs)

    ours = seconds(lambda: featurizer(picture))
    row("extraction with dift-mini", ours, seconds(whole), "the whole U-Net of diffusers on the same input")
    direct = de.load_featurizer("dift-mini", channels_last=False)  # every multiplication, which Winograd's method saves
    with FlopCounterMode(display=False) as counter:
        direct(picture)
    done, moved = counter.get_total_flops(), bytes_of(direct.unet, lambda: direct(picture))
    peak, copying = peak_flops(), peak_bytes()
    roof = min(peak, done / moved * copying)
    return (
        f"| {done / 1e9:.1f} GFLOP | {moved / 1e6:.0f} MB | {done / moved:.0f} FLOP/B | {peak / 1e9:.0f} GFLOP/s "
        f"| {copying / 1e9:.1f} GB/s | {roof / 1e9:.0f} GFLOP/s | {done / ours / 1e9:.0f} GFLOP/s "
        f"| {done / ours / roof:.0%} |"
    )


def matching(a, b, count=200):
    """Exact full-resolution search on the grid, against upsampled features."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (count, 2)) * (np.array(a.image_size) - 1)

    def upsampled():
        width, height = b.image_size
        small = F.interpolate(b.data[None], (height, width), mode="bilinear", align_corners=False)[0]
        large = F.normalize(small.flatten(1), dim=0)
        grid = np.array(a.unit.shape[:0:-1])
        cells = np.clip(np.round((points + 0.5) * grid / a.image_size - 0.5), 0, grid - 1).astype(int)
        queries = torch.stack([a.unit[:, y, x] for x, y in cells])
        return (queries @ large).argmax(1)

    row(f"matching {count} points", seconds(lambda: de.match_points(a, points, b)), seconds(upsampled, 1),
        "features upsampled to the image")  # fmt: skip


def stages(featurizer, source, sticker, target):
    """Locate, composite and a batch of targets."""
    quad = sticker.quad
    row("locate", seconds(lambda: de.locate(source, quad, target, featurizer=featurizer)),
        seconds(lambda: de.locate(source, quad, target, featurizer=featurizer, engine="notebook"), 1),
        "the released notebook's way, which tries no mirror image and gives no confidence")  # fmt: skip
    from dift_edit.geometry.base import MatrixTransform

    large = de.as_image(target.to_pil().resize((4000, 3000)))
    move = MatrixTransform(np.diag([1.5, 1.5, 1.0]))

    def whole():
        layer = np.zeros((source.size[1], source.size[0], 4), np.float32)
        grid = F.affine_grid(torch.eye(2, 3)[None], [1, 4, 3000, 4000], align_corners=False)
        warped = F.grid_sample(torch.from_numpy(layer.transpose(2, 0, 1))[None], grid, align_corners=False)[0]
        base = large.to_tensor()
        return (warped[:3] + base * (1 - warped[3:])).mul(255).round().byte()

    row("composite on 12 megapixels", seconds(lambda: sticker.apply(large, move, source=source)), seconds(whole, 1),
        "warp and blend of the whole frame")  # fmt: skip
    targets = [target.resized((w, 300)) for w in range(320, 360, 5)]
    row("batch of 8 targets", seconds(lambda: list(de.propagate(source, sticker, targets, featurizer=featurizer)), 1),
        seconds(lambda: [de.transfer(source, sticker, t, featurizer=featurizer) for t in targets], 1),
        "a loop of transfer(), which computes the source's features each time")  # fmt: skip


def clip(featurizer, frames):
    """A clip, against placing the edit on each frame by itself."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from synthetic_clips import SyntheticClip

    made = SyntheticClip.drawn(frames, size=(854, 480))
    pictures = [made.frame(index) for index in range(frames)]
    sticker = de.Sticker(np.full((90, 120, 4), 200, np.uint8), quad=made.quad(0))

    def alone():
        for picture in pictures[: max(4, frames // 8)]:
            de.transfer(pictures[0], sticker, picture, featurizer=featurizer, mirror="never")

    whole = seconds(lambda: list(de.propagate_sequence(pictures, sticker, featurizer=featurizer)), 1)
    each = seconds(alone, 1) / max(4, frames // 8)
    row(
        f"a frame of a clip (480p, {frames} frames)",
        whole / frames,
        each,
        "transfer() on each frame, without mirror test",
    )


def main():
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small pictures and a short clip")
    parser.add_argument("--markdown", type=Path, help="write the page too")
    args = parser.parse_args()
    featurizer = de.load_featurizer("mini")
    source, target = de.load_image(FOLDER / "cat.jpg"), de.load_image(FOLDER / "kitten.jpg")
    sticker = sample_job("unused").load_edit(source)
    say(f"`python {shlex.join(sys.argv)}`, {torch.get_num_threads()} threads, torch {torch.__version__}.\n")
    say("| stage | dift-edit | reference | ratio | the reference is |\n|---|---|---|---|---|")
    roofline = extraction(source)
    matching(featurizer(source), featurizer(target))
    stages(featurizer, source, sticker, target)
    clip(featurizer, 24 if args.quick else 100)
    say("\nRoofline of `dift-mini`, one image, with the operations of plain convolutions:\n")
    say("| work | moved | intensity | matrix-product peak | copying | roof | reached | share |")
    say("|---|---|---|---|---|---|---|---|\n" + roofline)
    say(f"\nPeak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB.")
    if args.markdown:
        write_text(args.markdown, INTRODUCTION + "\n".join(LINES) + "\n")


if __name__ == "__main__":
    main()
