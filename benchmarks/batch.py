"""Sets of photos: throughput, overhead over the features, memory, kills, broken files.

    python benchmarks/batch.py throughput --targets 200 2000 --workers 1 2
    python benchmarks/batch.py kills --kills 20
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
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import PIL.Image

SIZE = (240, 180)


def picture(seed: int) -> PIL.Image.Image:
    small = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return PIL.Image.fromarray(small).resize(SIZE, PIL.Image.Resampling.BICUBIC)


def make_scene(folder: Path, count: int, model: str) -> str:
    """A source, a sticker, targets that show the source moved; returns the model's name."""
    picture(0).save(folder / "source.png")
    canvas = np.zeros((SIZE[1], SIZE[0], 4), dtype=np.uint8)
    canvas[60:120, 80:160] = (220, 20, 60, 255)
    PIL.Image.fromarray(canvas).save(folder / "sticker.png")
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    base = np.asarray(picture(0)).astype(float)
    for number in range(count):
        rng = np.random.default_rng(number + 1)
        moved = np.roll(base, rng.integers(-20, 21, 2), (0, 1)) * rng.uniform(0.8, 1.1) + rng.normal(0, 5, base.shape)
        PIL.Image.fromarray(np.clip(moved, 0, 255).astype(np.uint8)).save(photos / f"{number:05d}.jpg", quality=90)
    if model != "tiny":
        return model
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from batch_data import save_tiny_model

    return str(save_tiny_model(folder / "model"))


def command(folder: Path, model: str, output: str, args: argparse.Namespace, *more: str) -> list[str]:
    """``dift-edit run`` with a recipe."""
    from dift_edit.recipe import Job, save_job
    from dift_edit.settings import TransferSettings

    job = Job(
        source=str(folder / "source.png"), sticker=str(folder / "sticker.png"), targets=(str(folder / "photos"),),
        output=str(folder / output), model=model, model_settings=model_settings(args),
        transfer=TransferSettings(min_confidence=0.0, mirror=args.mirror),
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
            model = make_scene(folder, count, args.model)
            for workers in args.workers:
                alone = features_alone(folder, model, workers, args)
                process = subprocess.Popen(
                    command(folder, model, f"out{workers}", args, "--workers", str(workers)),
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
                    test="throughput", model=args.model, mirror=args.mirror, short_side=args.short_side,
                    targets=count, workers=workers, seconds=round(done["seconds"], 1),
                    photos_per_second=round(count / done["seconds"], 2), seconds_each=round(done["seconds"] / count, 4),
                    features_alone_each=round(alone, 4), overhead=round(done["seconds"] / count / alone - 1, 3),
                    stages={stage: round(value / count, 4) for stage, value in done["times"].items()},
                    processor_each=round((processor_time() - before) / count, 4), peak_mb=round(peaks[0]),
                    counts=done["counts"],
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
    from dift_edit.batch.threads import set_arithmetic_threads
    from dift_edit.features.registry import load_featurizer
    from dift_edit.image_io import load_image

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
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.jpg")}
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return files, [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def rows_in(journal: Path) -> int:
    return journal.read_bytes().count(b'"type":"row"') if journal.exists() else 0


def kills(args: argparse.Namespace) -> None:
    """Kill the command at random moments, each followed by a resume; compare with a calm run."""
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_scene(folder, args.targets[0], args.model)
        subprocess.run(command(folder, model, "calm", args), stderr=subprocess.DEVNULL, check=True)
        journal = folder / "out" / ".dift-edit" / "journal.jsonl"
        done = []
        for _ in range(args.kills):
            workers = chance.choice(["1", "2"])
            process = subprocess.Popen(
                command(folder, model, "out", args, "--workers", workers), stderr=subprocess.DEVNULL
            )
            had = done[-1] if done else 0
            wanted = had + chance.randint(0, 3)
            while process.poll() is None and wanted > (
                journal.read_bytes().count(b'"type":"row"') if journal.exists() else 0
            ):
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.wait()
            done.append(rows_in(journal))
        subprocess.run(command(folder, model, "out", args), stderr=subprocess.DEVNULL, check=True)
        calm, killed = state(folder / "calm"), state(folder / "out")
        leftovers = [str(path) for path in (folder / "out").rglob("*.tmp")]
        say(
            test="kills", targets=args.targets[0], kills=args.kills, rows_at_each_kill=done,
            pictures_identical=calm[0] == killed[0], manifest_identical=calm[1] == killed[1], leftovers=leftovers,
        )  # fmt: skip


def broken(args: argparse.Namespace) -> None:
    """Some broken files among many."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_scene(folder, args.targets[0], args.model)
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
    parser.add_argument("test", choices=["throughput", "features", "kills", "broken"])
    parser.add_argument("paths", nargs="*", help="pictures, for the test of features alone")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--mirror", default="auto")
    parser.add_argument("--targets", type=int, nargs="+", default=[60])
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
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
