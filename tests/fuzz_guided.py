"""Coverage-guided fuzzing of everything that reads a file; needs ``pip install atheris`` (Linux, Python 3.11 to 3.13).

    PYTHONPATH=tests python tests/fuzz_guided.py [--seconds 30] [TARGET ...]

Each target runs in a process of its own, from the valid files of ``test_fuzz.py``. An input may be read, or refused by
a DiftEditError of one line; anything else stops that target, names the input's file and ends with status 1.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

CLIP = []

TARGETS = {
    "picture": "input.png",
    "sticker": "input.png",
    "job": "job.toml",
    "targets-csv": "list.csv",
    "targets-jsonl": "list.jsonl",
    "edit": "edit.json",
    "cube": "table.cube",
    "checkpoint": "checkpoint.pt",
    "shapes": "n.shapes.csv",
    "coco": "a.json",
    "labelme": "l.json",
    "cvat": "a.xml",
    "tps": "a.tps",
    "deeplabcut": "d.csv",
    "deeplabcut-h5": "d.h5",
    "targets-txt": "list.txt",
    "targets-parquet": "list.parquet",
    "journal": "journal.jsonl",
    "journal-records": "journal.jsonl",
    "decisions": "decisions.json",
    "clip-lines": "0-4-on.jsonl",
    "clip-state": "0-4-on.npz",
    "cache": "entry.safetensors",
    "model": "config.json",
    "report": "report.json",
    "animation": "input.gif",
    "session": "session.json",
    "points": "n.points.csv",
    "yolo-segment": "segment.txt",
    "yolo-pose": "pose.txt",
    "yolo-data": "pose.yaml",
    "confidence": "a.confidence.csv",
    "psd": "input.psd",
    "ora": "input.ora",
    "heic": "input.heic",
    "avif": "input.avif",
    "config": "config.toml",
    "columns": "list.csv",
    "columns-jsonl": "list.jsonl",
}


def reader(target, folder):
    """What reads the file of a target."""
    import test_fuzz
    from dift_edit import Sticker, load_image, load_job
    from dift_edit.annotations import read_annotations
    from dift_edit.clips.io import as_clip
    from dift_edit.clips.tracking.track_store import TrackStore
    from dift_edit.edits import CubeLut, load_edit
    from dift_edit.evaluation.runner import load_report
    from dift_edit.features.adm_checkpoint import convert_adm
    from dift_edit.features.cache import FeatureCache
    from dift_edit.features.registry import load_featurizer
    from dift_edit.job.defaults import user_defaults
    from dift_edit.report.decisions import read_decisions
    from dift_edit.results.journal import Journal
    from dift_edit.targets.collect import collect_targets

    cache = FeatureCache(folder / "cache")

    def journal(path):
        with Journal(path) as opened:
            list(test_fuzz.rows_of_journal(opened))

    def journal_records(path):
        lines = [json.dumps({"type": "job", "job": {}}).encode(), *path.read_bytes().split(b"\n")]
        path.write_bytes(b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in lines))
        journal(path)

    def clip(path):
        place = folder / "clip"
        whole = {"0-4-on.jsonl": CLIP[0], "0-4-on.npz": CLIP[1], path.name: path.read_bytes()}
        for name, data in whole.items():
            (place / name).write_bytes(data)
        opened = TrackStore(place, "job")
        opened._load(place / "0-4-on.jsonl", place / "0-4-on.npz", test_fuzz.tracker())

    def entry(path):
        place = cache.path("d", "f", 0, "float32")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
        cache.get("d", "f")

    def columns(path):
        for each in collect_targets([], lists=[path]).targets:
            if each.hints.mask.isprintable():  # an error names its file as it is; who prints it escapes line breaks
                each.hints.region((24, 18))

    def layered(path):
        collect_targets([path])
        load_image(path, max_pixels=1_000_000)

    def annotations(path):
        read_annotations(
            test_fuzz.lay_annotations(folder / "laid", path.name, path.read_bytes()), images=folder / "laid"
        )

    def animation(path):
        opened = as_clip(path)
        list(opened.read(0, min(len(opened), 3)))

    def session(path):
        from napari_dift_edit.sessions import _read

        _read(path.parent)

    if target.startswith("clip"):
        CLIP[:] = test_fuzz.clip_files(folder / "clip")
    more = {
        "targets-txt": lambda path: collect_targets([], lists=[path]),
        "targets-parquet": lambda path: collect_targets([], lists=[path]),
        "journal": journal,
        "journal-records": journal_records,
        "decisions": lambda path: read_decisions(path, "j"),
        "clip-lines": clip,
        "clip-state": clip,
        "cache": entry,
        "model": lambda path: load_featurizer(str(path.parent)),
        "report": load_report,
        "animation": animation,
        "session": session,
        "psd": layered,
        "ora": layered,
        "heic": layered,
        "avif": layered,
        "config": lambda path: user_defaults({}, path),
        "columns": columns,
        "columns-jsonl": columns,
    }
    if TARGETS[target] in test_fuzz.ANNOTATED:
        return annotations
    if target in more:
        return more[target]
    return {
        "picture": lambda path: load_image(path, max_pixels=1_000_000),
        "sticker": lambda path: Sticker.from_file(path, at=(2, 2, 8, 8)),
        "job": load_job,
        "targets-csv": lambda path: collect_targets([], lists=[path]),
        "targets-jsonl": lambda path: collect_targets([], lists=[path]),
        "edit": load_edit,
        "cube": CubeLut.from_file,
        "checkpoint": lambda path: convert_adm(path, folder / "converted"),
    }[target]


def parquet():
    """A list of two targets."""
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    rows = [{"path": "a.jpg", "id": "one"}, {"path": "b.jpg", "id": "two"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def layered_file(kind):
    """A small result in layers."""
    import numpy as np

    import dift_edit as de
    from dift_edit.edits import layered
    from dift_edit.geometry.base import MatrixTransform

    pixels = np.random.default_rng(0).integers(0, 256, (18, 24, 3), dtype=np.uint8)
    sticker = de.Sticker(pixels[:6, :8], at=(4, 4, 8, 6))
    return layered(sticker, de.as_image(pixels), MatrixTransform(np.eye(3))).encoded(kind)[f".{kind}"]


def photograph(format_):
    """A small HEIC or AVIF."""
    import test_fuzz

    if format_ == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    return test_fuzz.encoded(test_fuzz.picture(5, (24, 18)), format_)


COLUMNS = (
    b'path,id,output,skip,mask,box,pins,quad,mirror,min_confidence\na.jpg,one,x.jpg,,a.jpg,"1, 2, 8, 9",'
    b'"1 2 3 4; 5 6 7 9","1,1,9,1,9,9,1,9",never,0.5\nb.jpg,,,yes,,,,,auto,\n'
)
COLUMNS_JSONL = (
    b'{"path": "a.jpg", "box": [1, 2, 8, 9], "pins": [[[1, 2], [3, 4]]], "quad": [1, 1, 9, 1, 9, 9, 1, 9]}\n'
    b'{"path": "b.jpg", "skip": true, "mirror": "always", "min_confidence": 0.25, "mask": "b.jpg"}\n'
)
CONFIG = (
    b'[model]\nname = "lite"\ndevice = "cpu"\n[transfer]\nengine = "mesh"\nmin_confidence = 0.5\n'
    b'[compositing]\nopacity = 0.5\nblend = "laplacian"\n[batch]\nworkers = 2\nreport = false\n'
)


def cached():
    """An entry of the feature cache."""
    import torch

    from dift_edit.features.base import FeatureMap
    from dift_edit.features.cache import FeatureCache

    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder)
        cache.put(FeatureMap(torch.arange(60.0).reshape(3, 4, 5), (50, 40), "f", "d"))
        return cache.path("d", "f", 0, "float32").read_bytes()


def seeds(target):
    """Valid files to start from."""
    import torch

    import test_fuzz

    if target in ("picture", "sticker"):
        return list(test_fuzz.VALID.values())
    if TARGETS[target] in test_fuzz.ANNOTATED:
        return [test_fuzz.ANNOTATED[TARGETS[target]]]
    row = {"id": "x", "target": "x.png", "status": "applied", "output": "x.png", "quad": [[0, 0]] * 4, "size": [4, 4]}
    records = [{"type": "job", "job": {}}, {"type": "plan", "id": "x", "output": "x.png"}, {"type": "row", "row": row}]
    more = {
        "targets-txt": lambda: b"a.jpg\n# note\nb.jpg\n",
        "targets-parquet": parquet,
        "journal": lambda: b"".join(map(test_fuzz.checked_line, records)),
        "journal-records": lambda: b"\n".join(json.dumps(record).encode() for record in records),
        "decisions": lambda: test_fuzz.DECISIONS,
        "clip-lines": lambda: CLIP[0],
        "clip-state": lambda: CLIP[1],
        "cache": cached,
        "model": lambda: b'{"_class_name": "UNet2DModel", "sample_size": 32, "block_out_channels": [32, 64]}',
        "report": lambda: b'{"benchmark": "x", "rows": {"a": {"pck": 0.5}}, "options": {}, "model": {}, "time": {}}',
        "animation": lambda: test_fuzz.VALID["animated.gif"],
        "psd": lambda: layered_file("psd"),
        "ora": lambda: layered_file("ora"),
        "heic": lambda: photograph("HEIF"),
        "avif": lambda: photograph("AVIF"),
        "config": lambda: CONFIG,
        "columns": lambda: COLUMNS,
        "columns-jsonl": lambda: COLUMNS_JSONL,
        "session": lambda: (
            b'{"version": 1, "source": {"name": "a", "file": "a.png"}, "edit": {"kind": "sticker"}, '
            b'"targets": [{"name": "t", "file": "t.png", "pins": [[1, 2]], "result": null}]}'
        ),
    }
    if target in more:
        return [more[target]()]
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
        if target.startswith(("targets", "columns")) and re.search(rb"""(^|["',: ])/|\.\.|\*""", data):
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
