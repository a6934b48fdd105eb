"""Coverage-guided fuzzing of everything that reads a file; needs ``pip install atheris`` (Linux, Python 3.11 to 3.13).

    PYTHONPATH=tests python tests/fuzz_guided.py [--seconds 30] [TARGET ...]

Each target runs in a process of its own, from the valid files of ``test_fuzz.py``. An input may be read, or refused by
a DiftEditError of one line; anything else stops that target, names the input's file and ends with status 1.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TARGETS = {
    "picture": "input.png",
    "sticker": "input.png",
    "job": "job.toml",
    "targets-csv": "list.csv",
    "targets-jsonl": "list.jsonl",
    "edit": "edit.json",
    "cube": "table.cube",
    "checkpoint": "checkpoint.pt",
    "labels": "shapes.csv",
}


def reader(target, folder):
    """What reads the file of a target."""
    from dift_edit import Sticker, load_image, load_job
    from dift_edit.edits import CubeLut, load_edit
    from dift_edit.edits.labels_io import read_napari_csv
    from dift_edit.features.adm_checkpoint import convert_adm
    from dift_edit.targets.collect import collect_targets

    return {
        "picture": lambda path: load_image(path, max_pixels=1_000_000),
        "sticker": lambda path: Sticker.from_file(path, at=(2, 2, 8, 8)),
        "job": load_job,
        "targets-csv": lambda path: collect_targets([], lists=[path]),
        "targets-jsonl": lambda path: collect_targets([], lists=[path]),
        "edit": load_edit,
        "cube": CubeLut.from_file,
        "checkpoint": lambda path: convert_adm(path, folder / "converted"),
        "labels": read_napari_csv,
    }[target]


def seeds(target):
    """Valid files to start from."""
    import io
    import json

    import torch

    import test_fuzz

    if target in ("picture", "sticker"):
        return list(test_fuzz.VALID.values())
    checkpoint = io.BytesIO()
    torch.save({"time_embed.0.weight": torch.zeros(4, 4)}, checkpoint)
    edit = {"type": "sticker", "image": {"file": "a.png", "sha256": "0" * 64}, "quad": [[0, 0], [9, 0], [9, 9], [0, 9]]}
    return {
        "job": [test_fuzz.JOB],
        "targets-csv": [test_fuzz.LISTS["list.csv"]],
        "targets-jsonl": [test_fuzz.LISTS["list.jsonl"]],
        "edit": [json.dumps(edit).encode()],
        "cube": [test_fuzz.CUBE],
        "checkpoint": [checkpoint.getvalue()],
        "labels": [b"index,shape-type,vertex-index,axis-0,axis-1\n0,polygon,0,1,1\n0,polygon,1,5,1\n0,polygon,2,5,5\n"],
    }[target]


def fuzz(target, limit, folder):
    """Run one target; never returns."""
    import warnings

    import atheris

    with atheris.instrument_imports(include=["dift_edit", "PIL", "csv", "json", "tomllib"]):
        from dift_edit import DiftEditError

        read = reader(target, folder)
    warnings.simplefilter("ignore")
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(seeds(target)):
        (corpus / f"{number}").write_bytes(data)
    path = folder / "a" / "b" / "c" / TARGETS[target]
    path.parent.mkdir(parents=True)

    def one(data):
        if target.startswith("targets") and re.search(rb"""(^|["',: ])/|\.\.|\*""", data):
            return  # lists may name any file of this machine: do not search all of it
        path.write_bytes(data)
        try:
            read(path)
        except DiftEditError as error:
            assert "\n" not in str(error), str(error)

    artifacts = f"-artifact_prefix={tempfile.gettempdir()}/dift-edit-{target}-"
    words = [f"-max_total_time={limit}", "-max_len=4096", "-timeout=60", "-rss_limit_mb=8000", artifacts]
    atheris.Setup([sys.argv[0], *words, "-print_final_stats=1", str(corpus)], one)
    atheris.Fuzz()


def main():
    """Fuzz the targets one after the other and count their inputs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=30, help="for each target (default: %(default)s)")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        fuzz(args.targets[0], args.seconds, args.inside)
    total = failed = 0
    for target in args.targets or TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, __file__, target, "--seconds", str(args.seconds), "--inside", folder]
            done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        found = re.search(r"number_of_executed_units: *(\d+)", done.stderr)
        count = int(found[1]) if found else 0
        total += count
        failed += done.returncode != 0 or not found
        print(f"{target}: {count} inputs, {'ok' if done.returncode == 0 and found else 'FAILED'}", flush=True)
        if done.returncode or not found:
            print(done.stderr[-3000:])
    print(f"{total} inputs, {failed} targets failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
