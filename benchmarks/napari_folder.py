"""Look through, decide and export a folder of photos in napari's window: memory and the window's thread.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/napari_folder.py --photos 500

Prints one JSON object. `peak_mib` is the highest resident memory of the window's process (the engines that run the
network are processes of their own), `resident_mib` what it holds after each tenth of the photos. `step_ms` is processor
time of the window's thread for going to the next photo, with napari's drawing, and `beat_ms` what lies between two
turns of its event loop. `own_ms` is the plugin's share: of each call into its code the time without what napari takes
to make, change, select, draw or remove layers and its progress bar, and without Python's collection of garbage;
`slowest` names the longest ones.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import PIL.Image
import psutil

import napari
from napari_dift_edit.api import DiftEdit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "napari"))
from window_thread import Heart, OwnWork

SAMPLES = Path(str(files("dift_edit") / "samples"))


def make_photos(folder: Path, source: Path, count: int, size: tuple[int, int]) -> None:
    """The source turned, moved and of other brightness."""
    rng = np.random.default_rng(0)
    with PIL.Image.open(source) as picture:
        base = picture.convert("RGB").resize(size)
    for number in range(count):
        dx, dy = (int(value) for value in rng.integers(-size[0] // 12, size[0] // 12, 2))
        angle, gain = rng.uniform(-8, 8), float(rng.uniform(0.7, 1.1))
        moved = base.rotate(float(angle), translate=(dx, dy), resample=PIL.Image.Resampling.BILINEAR)
        moved.point([min(255, round(gain * value)) for value in range(256)] * 3).save(folder / f"{number:04d}.jpg")


def memory() -> float:
    """Highest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--size", type=int, nargs=2, default=(1600, 1200), metavar=("W", "H"))
    parser.add_argument("--model", default="", help="name or folder; empty for the built-in one")
    parser.add_argument("--engine", default="similarity")
    args = parser.parse_args()
    table = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        photos.mkdir()
        make_photos(photos, SAMPLES / table["source"]["file"], args.photos, tuple(args.size))
        own = OwnWork()
        viewer = napari.Viewer()
        viewer.window.resize(1400, 900)
        edit = DiftEdit(viewer)
        edit.dock.help.leave()
        edit.open([SAMPLES / table["source"]["file"]])
        edit.sticker(SAMPLES / table["sticker"]["file"], quad=table["sticker"]["quad"])
        edit.settings(model=args.model, engine=args.engine, mirror="never")
        start = memory()
        results, steps, held = edit.dock.results, [], []
        with Heart() as heart:
            edit.add_folder(photos)
            edit.propagate()
            placed = memory()
            for number in range(args.photos):
                if number % max(1, args.photos // 10) == 0:
                    held.append(round(psutil.Process().memory_info().rss / 2**20))
                used = time.thread_time()
                results.step(1)
                edit.wait()
                steps.append(1000 * (time.thread_time() - used))
                results.decide("rejected" if number % 5 == 4 else "accepted")
                results.table.mark(edit.dock.editor.session.targets[number])
            written = edit.export()
        report = {
            "photos": args.photos, "size": list(args.size), "model": args.model or "built in", "written": written,
            "decided": sum(bool(result.review) for result in edit.results.values()),
            "layers": len(viewer.layers), "start_mib": round(start), "placed_mib": round(placed),
            "peak_mib": round(memory()),
            "resident_mib": held, "own_ms": own.report(),
            "step_ms": {
                "median": round(float(np.median(steps))), "first": round(steps[0]), "longest": round(max(steps[1:])),
            },
            "beat_ms": {
                "median": round(float(np.median(heart.used)), 1),
                "99 %": round(float(np.quantile(heart.used, 0.99))), "longest": round(max(heart.used)),
            },
        }  # fmt: skip
        json.dump(report, sys.stdout)
        print()
        edit.dock.shut()
        viewer.close()


if __name__ == "__main__":
    main()
