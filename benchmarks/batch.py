"""Sets of photos: throughput, overhead over the features, memory, kills, broken files.

    python benchmarks/batch.py throughput --targets 200 --workers 1 2
    python benchmarks/batch.py throughput --photos ../shared/data/pf_willow --model mini --targets 99 --workers 1 2
    python benchmarks/batch.py stages --photos ../shared/data/pf_willow --model mini --targets 40
    python benchmarks/batch.py memory --targets 200 2000 --size 64 48 --short-side 64 --mirror never --different
    python benchmarks/batch.py kills --targets 120 --kills 20 --size 64 48 --short-side 64
    python benchmarks/batch.py kills --targets 40 --kills 10 --size 64 48 --mirror never --learn --layers
    python benchmarks/batch.py kills --targets 500 --kills 5 --size 64 48 --mirror never --annotations --workers 2
    python benchmarks/batch.py dask --targets 60 --kills 3 --size 64 48 --short-side 64
    python benchmarks/batch.py broken --targets 500 --broken 50

Each prints a line of JSON a measurement; pictures are made on the way, nothing is downloaded. `--model mini` measures
the embedded model, `--model tiny` a network of random weights that leaves the overhead to be seen.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import PIL.Image


def make_scene(folder: Path, count: int, args: argparse.Namespace) -> str:
    """A source, a sticker and targets, photographed or drawn; returns the model's name."""
    (folder / "photos").mkdir(exist_ok=True)
    (copy_scene if args.photos else draw_scene)(folder, count, args)
    width, height = size_of(folder / "source.png")
    canvas = np.zeros((height, width, 4), dtype=np.uint8)
    canvas[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = (220, 20, 60, 255)
    PIL.Image.fromarray(canvas).save(folder / "sticker.png")
    if args.model != "tiny":
        return str(args.model)
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from batch_data import save_tiny_model

    return str(save_tiny_model(folder / "model"))


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture."""
    with PIL.Image.open(path) as picture:
        return picture.size


def draw_scene(folder: Path, count: int, args: argparse.Namespace) -> None:
    """A source, and targets that show it moved."""
    width, height = args.size
    small = np.random.default_rng(0).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC)
    picture.save(folder / "source.png")
    base, reach = np.asarray(picture).astype(float), width // 12
    for number in range(count):
        rng = np.random.default_rng(number + 1)
        moved = np.roll(base, rng.integers(-reach, reach + 1, 2), (0, 1)) * rng.uniform(0.8, 1.1)
        if args.different or (args.learn and number % 2):  # what is not sure has something to learn
            moved = rng.permutation(base.reshape(-1, 3)).reshape(base.shape)
        moved = np.clip(moved + rng.normal(0, 5, base.shape), 0, 255).astype(np.uint8)
        PIL.Image.fromarray(moved).save(folder / "photos" / f"{number:05d}.jpg", quality=90)


def copy_scene(folder: Path, count: int, args: argparse.Namespace) -> None:
    """Photographs in their order; the first one is the source."""
    found = sorted(path for path in args.photos.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    with PIL.Image.open(found[0]) as picture:
        picture.save(folder / "source.png")
    for number, path in enumerate(found[1 : count + 1]):
        shutil.copy(path, folder / "photos" / f"{number:05d}{path.suffix.lower()}")


def annotate_command(folder: Path, model: str, output: str, args: argparse.Namespace) -> list[str]:
    """``dift-edit annotate`` with a box and three keypoints of the source."""
    from dift_edit.annotations import AnnotatedImage, AnnotatedObject, Annotations, Keypoint, write_annotations

    width, height = size_of(folder / "source.png")
    box = (width / 4, height / 4, 3 * width / 4, 3 * height / 4)
    places = (("a", 0.3, 0.3), ("b", 0.7, 0.4), ("c", 0.5, 0.7))
    points = [Keypoint(name, width * x, height * y) for name, x, y in places]
    thing = AnnotatedObject(category="thing", box=box, keypoints=points)
    image = AnnotatedImage(path="source.png", size=(width, height), objects=[thing])
    write_annotations(Annotations([image]), folder / "labels.json", format="coco")
    return [
        sys.executable, "-m", "dift_edit", "annotate", str(folder / "source.png"), str(folder / "labels.json"),
        str(folder / "photos"), "-o", str(folder / output), "--model", model, "--mirror", args.mirror,
        "--min-confidence", "0", "--log-json",
    ]  # fmt: skip


def command(folder: Path, model: str, output: str, args: argparse.Namespace, *more: str) -> list[str]:
    """``dift-edit run`` with a recipe, or ``dift-edit annotate``."""
    from dift_edit.job.recipe import Job, save_job
    from dift_edit.settings import BatchSettings, TransferSettings

    if args.annotations:
        return [*annotate_command(folder, model, output, args), *more]
    job = Job(
        source=str(folder / "source.png"), sticker=str(folder / "sticker.png"), targets=(str(folder / "photos"),),
        output=str(folder / output), model=model, model_settings=model_settings(args),
        transfer=TransferSettings(min_confidence=0.0, mirror=args.mirror),
        batch=BatchSettings(
            learn="auto" if args.learn else "off", layers="png" if args.layers else None, masks=args.layers
        ),
    )  # fmt: skip
    save_job(job, folder / f"{output}.toml")
    return [sys.executable, "-m", "dift_edit", "run", str(folder / f"{output}.toml"), "--log-json", *more]


def say(**figures: object) -> None:
    print(json.dumps(figures), flush=True)


def peak_of(process: subprocess.Popen[str], peaks: list[float]) -> None:
    """Follow the resident memory of a process and its children; the largest sum in MB ends up in `peaks`."""
    import psutil

    while process.poll() is None:
        total = 0
        try:
            parent = psutil.Process(process.pid)
            for each in [parent, *parent.children(recursive=True)]:
                total += each.memory_info().rss
        except psutil.Error:
            continue
        peaks[0] = max(peaks[0], total / 1e6)
        time.sleep(0.2)


def throughput(args: argparse.Namespace) -> None:
    """Photos a second, how much longer than features alone, processor time, and peak memory."""
    for count in args.targets:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            model = make_scene(folder, count, args)
            for workers in args.workers or [1]:
                alone = features_alone(folder, model, workers, args)
                cluster = ["--cluster", "local"] if args.cluster else []
                process = subprocess.Popen(
                    command(folder, model, f"out{workers}", args, "--workers", str(workers), *cluster),
                    stderr=subprocess.PIPE, text=True,
                )  # fmt: skip
                peaks = [0.0]
                watcher = threading.Thread(target=peak_of, args=(process, peaks))
                watcher.start()
                before = processor_time()
                events = [json.loads(line) for line in process.communicate()[1].splitlines() if line.startswith("{")]
                watcher.join()
                done = events[-1]
                say(
                    test="throughput", model=args.model, cluster=args.cluster, mirror=args.mirror,
                    short_side=args.short_side,
                    targets=count, workers=workers, seconds=round(done["seconds"], 1),
                    photos_per_second=round(count / done["seconds"], 2), seconds_each=round(done["seconds"] / count, 4),
                    features_alone_each=round(alone, 4), overhead=round(done["seconds"] / count / alone - 1, 3),
                    stages={stage: round(value / count, 4) for stage, value in done["times"].items()},
                    processor_each=round((processor_time() - before) / count, 4), peak_mb=round(peaks[0]),
                    counts=done["counts"],
                )  # fmt: skip


STAGES = {
    "the network": ("model.py", "_target"),
    "similarities of all cells": ("votes.py", "of"),
    "votes": ("votes.py", "gather_evidence"),
    "poses": ("similarities.py", "sample_poses"),
    "the same surface": ("same_surface.py", "match_surface"),
    "blending": ("sticker.py", "apply"),
}
"""Functions, by the name of their file, of which none calls another."""
WITHIN = {
    "turned sources": ("placement.py", "_coarse_score"),
    "the way back": ("placement.py", "_way_back"),
    "a second look": ("second_look.py", "look_again"),
}
"""Functions that call those."""


def stages(args: argparse.Namespace) -> None:
    """Processor seconds a target by stage, of one thread that does everything, once the source is known."""
    import cProfile
    import pstats

    import dift_edit as de
    from dift_edit.batch.model import SharedFeaturizer
    from dift_edit.features.threads import set_arithmetic_threads

    set_arithmetic_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_scene(folder, args.targets[0] + 1, args)
        first, *targets = sorted((folder / "photos").iterdir())
        source, sticker = de.load_image(folder / "source.png"), de.Sticker.from_file(folder / "sticker.png")
        featurizer = SharedFeaturizer(de.load_featurizer(model, **model_settings(args)), source.digest)
        settings = de.TransferSettings(min_confidence=0.0, mirror=args.mirror)

        def run(path: Path) -> None:
            de.transfer(source, sticker, de.load_image(path), featurizer=featurizer, settings=settings)

        run(first)
        profile = cProfile.Profile(time.thread_time)
        for path in targets:
            profile.runcall(run, path)
    entries = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    count = len(targets)

    def seconds(named: tuple[str, str]) -> float:
        found = (entry[3] for (file, _, function), entry in entries.items() if (Path(file).name, function) == named)
        return round(sum(found) / count, 4)

    parts = {stage: seconds(named) for stage, named in STAGES.items()}
    whole = seconds(("batch.py", "run"))
    say(
        test="stages", model=args.model, mirror=args.mirror, targets=count, processor_each=whole, stages=parts,
        rest=round(whole - sum(parts.values()), 4),
        within={step: seconds(named) for step, named in WITHIN.items()},
    )  # fmt: skip


def processor_time() -> float:
    """Seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def features_alone(folder: Path, model: str, workers: int, args: argparse.Namespace) -> float:
    """Seconds a target of as many processes that only decode and compute features, one thread each."""
    targets = [str(path) for path in sorted((folder / "photos").iterdir())][: args.sample]
    processes = [
        subprocess.Popen(
            [
                sys.executable, __file__, "features", "--model", model, "--mirror", args.mirror,
                "--short-side", str(args.short_side), *targets[part::workers],
            ],
            stdout=subprocess.PIPE, text=True,
        )
        for part in range(workers)
    ]  # fmt: skip
    return max(float(process.communicate()[0]) for process in processes) / len(targets)


def features(args: argparse.Namespace) -> None:
    """What the command cannot do without: pictures decoded and through the network, and nothing else."""
    from dift_edit.features.registry import load_featurizer
    from dift_edit.features.threads import set_arithmetic_threads
    from dift_edit.imaging.files import load_image

    set_arithmetic_threads(1)
    featurizer = load_featurizer(args.model, **model_settings(args))
    featurizer(load_image(args.paths[0]))
    start = time.perf_counter()
    for path in args.paths:
        image = load_image(path)
        featurizer(image)
        if args.mirror == "auto":
            featurizer(image.mirrored())
    print(time.perf_counter() - start)


def model_settings(args: argparse.Namespace) -> dict[str, object]:
    return {"short_sides": (args.short_side,)} if args.short_side else {}


def state(folder: Path) -> tuple[dict[str, str], list[dict[str, object]]]:
    patterns = (
        "*.jpg",
        "review_files/**/*.jpg",
        "layers/**/*.png",
        "masks/**/*.png",
        "targets/*.json",
        "annotations.*",
    )
    pictures = [path for pattern in patterns for path in folder.glob(pattern)]
    files = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures}
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return files, [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def rows_in(journal: Path) -> int:
    return journal.read_bytes().count(b'"type":"row"') if journal.exists() else 0


def compare(folder: Path) -> dict[str, object]:
    """What a disturbed run left, against a calm one: files of results, rows without their times, leftovers."""
    calm, disturbed = state(folder / "calm"), state(folder / "out")
    return {
        "files": len(calm[0]),
        "pictures_identical": calm[0] == disturbed[0],
        "manifest_identical": calm[1] == disturbed[1],
        "leftovers": [str(path) for path in (folder / "out").rglob("*.tmp")],
    }


def kills(args: argparse.Namespace) -> None:
    """Kill the command at random moments of its work, each followed by a resume; compare with a calm run."""
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_scene(folder, args.targets[0], args)
        start = time.perf_counter()
        subprocess.run(command(folder, model, "calm", args), stderr=subprocess.DEVNULL, check=True)
        startup = (time.perf_counter() - start) / 3
        journal = folder / "out" / ".dift-edit" / "journal.jsonl"
        at_each, running = [], 0
        for left in range(args.kills, 0, -1):
            process = subprocess.Popen(
                command(folder, model, "out", args, "--workers", str(chance.choice(args.workers or [1, 2]))),
                stderr=subprocess.DEVNULL,
            )
            had = rows_in(journal)
            # So that work is left for all later kills; learning adds rows of targets that are placed again.
            new = chance.randint(0, max(0, args.targets[0] - had) // (left + 1))
            while new and process.poll() is None and rows_in(journal) < had + new:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.1 if new else startup))
            process.send_signal(signal.SIGKILL)
            running += process.wait() == -signal.SIGKILL
            at_each.append(rows_in(journal))
        last = command(folder, model, "out", args, "--workers", str(max(args.workers or [1])))
        subprocess.run(last, stderr=subprocess.DEVNULL, check=True)
        say(
            test="kills", targets=args.targets[0], kills=args.kills, kills_of_a_running_job=running,
            rows_at_each_kill=at_each, **compare(folder),
        )  # fmt: skip


def dask(args: argparse.Namespace) -> None:
    """Kill a worker of a local dask cluster again and again while it works; compare with a calm run in one process."""
    import psutil

    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_scene(folder, args.targets[0], args)
        subprocess.run(command(folder, model, "calm", args), stderr=subprocess.DEVNULL, check=True)
        process = subprocess.Popen(
            command(folder, model, "out", args, "--cluster", "local", "--workers", "2"), stderr=subprocess.DEVNULL
        )
        journal, at_each = folder / "out" / ".dift-edit" / "journal.jsonl", []
        for number in range(args.kills):
            wanted = (number + chance.uniform(0.2, 0.8)) * args.targets[0] / (args.kills + 1)
            while process.poll() is None and rows_in(journal) < wanted:
                time.sleep(0.005)
            children = psutil.Process(process.pid).children(recursive=True)
            workers = [each for each in children if each.memory_info().rss > 150e6]  # those with a model
            if workers:
                chance.choice(workers).kill()
                at_each.append(rows_in(journal))
        status = process.wait()
        say(
            test="dask", targets=args.targets[0], workers_killed=len(at_each), rows_at_each_kill=at_each,
            exit_status=status, **compare(folder),
        )  # fmt: skip


def memory(args: argparse.Namespace) -> None:
    """Peak memory of the command for a small and a large set, as the kernel counted it; no one looks on meanwhile."""
    peaks = {}
    for count in args.targets:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            model = make_scene(folder, count, args)
            start = time.perf_counter()
            process = subprocess.Popen(command(folder, model, "out", args, "--quiet"), stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            rows = (folder / "out" / "manifest.jsonl").read_bytes().count(b"\n")
            peaks[count] = used.ru_maxrss / 1e3
            say(
                test="memory", targets=count, rows=rows, exit_status=process.returncode,
                seconds=round(time.perf_counter() - start, 1), peak_mb=round(peaks[count], 1),
                processor_each=round((used.ru_utime + used.ru_stime) / count, 4),
            )  # fmt: skip
    say(test="memory", ratio=round(peaks[args.targets[-1]] / peaks[args.targets[0]], 3))


def broken(args: argparse.Namespace) -> None:
    """Some broken files among many."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_scene(folder, args.targets[0], args)
        for number in range(args.broken):
            path = folder / "photos" / f"{number * (args.targets[0] // args.broken):05d}.jpg"
            data = path.read_bytes()
            path.write_bytes([b"", b"no picture at all", data[: len(data) // 2], data[:20]][number % 4])
        finished = subprocess.run(command(folder, model, "out", args), stderr=subprocess.DEVNULL, check=False)
        rows = [json.loads(line) for line in (folder / "out" / "manifest.jsonl").read_text().splitlines()]
        failed = [row for row in rows if row["status"] == "failed"]
        say(
            test="broken", targets=len(rows), done=len(rows) - len(failed), failed=len(failed),
            with_reason=sum(Path(row["target"]).name in row["reason"] for row in failed),
            exit_status=finished.returncode,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", choices=["throughput", "stages", "features", "memory", "kills", "dask", "broken"])
    parser.add_argument("paths", nargs="*", help="pictures, for the test of features alone")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--mirror", default="auto")
    parser.add_argument("--size", type=int, nargs=2, default=[240, 180], help="width and height of the pictures")
    parser.add_argument("--photos", type=Path, help="a folder of photographs instead of drawn pictures")
    parser.add_argument("--cluster", action="store_true", help="with a dask cluster of this machine")
    parser.add_argument("--different", action="store_true", help="targets that do not show the source: placed faster")
    parser.add_argument("--learn", action="store_true", help="with learning from the set; every other target differs")
    parser.add_argument("--layers", action="store_true", help="with layers and masks")
    parser.add_argument("--annotations", action="store_true", help="annotations instead of a sticker")
    parser.add_argument("--targets", type=int, nargs="+", default=[60])
    parser.add_argument("--workers", type=int, nargs="+", help="1 for the throughput, 1 or 2 by chance for kills")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--broken", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short-side", type=int, default=0, help="of the network's pictures; 0 for the model's own")
    parser.add_argument("--sample", type=int, default=100, help="most targets for the time of features alone")
    args = parser.parse_intermixed_args()
    globals()[args.test](args)
    if args.test != "features":
        say(
            cores=os.cpu_count(),
            load=os.getloadavg()[0],
            peak_mb_of_this=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        )


if __name__ == "__main__":
    main()
