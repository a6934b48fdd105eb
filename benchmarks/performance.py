"""How fast each stage is beside the straightforward way, in one run: ``python benchmarks/performance.py``.

Prints a Markdown table (extraction, matching, locate, composite, batch, memory, scaling) and a roofline of `mini`:
floating-point operations counted by torch, the machine's matrix-product peak measured here.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import dift_edit as de
from dift_edit.samples import FOLDER, sample_job


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


def row(stage, ours, reference, what):
    """One line of the table."""
    print(f"| {stage} | {ours:.3f} s | {reference:.3f} s | {reference / ours:.1f} | {what} |", flush=True)


def extraction(featurizer, picture):
    """Stopping behind the wanted block, against the whole U-Net on the same input."""
    unet = featurizer.unet
    inputs = []
    hook = unet.register_forward_pre_hook(lambda _m, args, kwargs: inputs.append((args, kwargs)), with_kwargs=True)
    featurizer(picture)
    hook.remove()

    @torch.inference_mode()
    def whole():
        for args, kwargs in inputs:
            unet(*args, **kwargs)

    ours = seconds(lambda: featurizer(picture))
    row("extraction", ours, seconds(whole), "the whole U-Net forward on the same input")
    with FlopCounterMode(display=False) as counter:
        featurizer(picture)
    done, peak = counter.get_total_flops(), peak_flops()
    return (
        f"{done / 1e9:.1f} GFLOP in {ours:.3f} s = {done / ours / 1e9:.0f} GFLOP/s, {done / ours / peak:.0%} of "
        f"the matrix-product peak of {peak / 1e9:.0f} GFLOP/s ({torch.get_num_threads()} threads)"
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

    row(f"matching {count} points", seconds(lambda: de.match_points(a, b, points)), seconds(upsampled, 1),
        "features upsampled to the picture")  # fmt: skip


def stages(featurizer, source, sticker, target):
    """Locate, composite and a batch of targets."""
    quad = sticker.quad
    row("locate", seconds(lambda: de.locate(source, quad, target, featurizer=featurizer)),
        seconds(lambda: de.locate(source, quad, target, featurizer=featurizer, engine="notebook"), 1),
        "the released notebook's engine, same features")  # fmt: skip
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
    targets = [target.resized((w, 300)) for w in (320, 340, 360, 380)]
    row("batch of 4 targets", seconds(lambda: list(de.propagate(source, sticker, targets, featurizer=featurizer)), 1),
        seconds(lambda: [de.transfer(source, sticker, t, featurizer=featurizer) for t in targets], 1),
        "a loop of transfer()")  # fmt: skip


def memory(megapixels):
    """Peak memory of a process that makes one transfer, in MiB, and its time."""
    code = (
        "import sys, time, resource, dift_edit as de\n"
        "from dift_edit.samples import FOLDER, sample_job\n"
        "f = de.load_featurizer('mini'); s = de.load_image(FOLDER / 'cat.jpg'); k = sample_job('x').load_edit(s)\n"
        f"w = int((float({megapixels}) * 1e6 * 4 / 3) ** 0.5)\n"
        "t = de.as_image(de.load_image(FOLDER / 'kitten.jpg').to_pil().resize((w, w * 3 // 4)))\n"
        "a = time.time(); de.transfer(s, k, t, featurizer=f, min_confidence=0.0)\n"
        "print(time.time() - a, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    took, peak = map(float, out.split())
    print(
        f"| one transfer onto {megapixels} megapixels | {took:.2f} s | | | peak {peak:.0f} MiB of the whole process |"
    )


def main():
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the large pictures")
    args = parser.parse_args()
    featurizer = de.load_featurizer("mini")
    source, target = de.load_image(FOLDER / "cat.jpg"), de.load_image(FOLDER / "kitten.jpg")
    sticker = sample_job("unused").load_edit(source)
    print("| stage | dift-edit | reference | ratio | the reference is |\n|---|---|---|---|---|")
    roofline = extraction(featurizer, source)
    matching(featurizer(source), featurizer(target))
    stages(featurizer, source, sticker, target)
    for megapixels in (1,) if args.quick else (1, 12, 48):
        memory(megapixels)
    print(f"\nRoofline of mini: {roofline}.")
    print(f"Peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB.")


if __name__ == "__main__":
    main()
