"""Output folders that somebody else prepared, and what may not lie in one that is given away."""

import hashlib
import io
import json
import os
import re
import shutil
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import dift_edit.clips.tracking.track_store as clip
from batch_data import SETTINGS, make_scene, picture, rows_of, variant
from dift_edit.atomic_files import Lock
from dift_edit.batch import ModelSpec, run_batch
from dift_edit.batch.finish import journal_path
from dift_edit.cli import main
from dift_edit.clips.resume import Scratch, claim_folder
from dift_edit.clips.tracking.tracker import Tracker
from dift_edit.edits import Redaction, Region, save_edit
from dift_edit.errors import DiftEditError, OutputError
from dift_edit.imaging.files import as_image, load_image
from dift_edit.results.folder import OutputFolder
from dift_edit.results.journal import Journal
from dift_edit.settings import BatchSettings, TransferSettings
from dift_edit.targets import storage
from dift_edit.targets.collect import collect_targets

COUNT = 3
needs_links = pytest.mark.skipif(os.name != "posix", reason="links and FIFOs as POSIX has them")


@pytest.fixture
def scene(tmp_path):
    return make_scene(tmp_path, COUNT)


def redact(scene, model, output="out", *, min_confidence=0.0, on_event=None, **batch):
    edit = Redaction(region=Region.box(8, 8, 32, 24), mode="fill")
    transfer = TransferSettings(min_confidence=min_confidence, mirror="never")
    return run_batch(
        load_image(scene / "source.png"), edit, [scene / "photos"], scene / output, featurizer=model, settings=transfer,
        batch=BatchSettings(preview_size=48, **batch), on_event=on_event,
    )  # fmt: skip


def shows(path, target):
    """Whether a picture, or a part of a larger one, is the target as it was: in 8 × 8 means of its pixels."""
    small = target.convert("RGB")
    with PIL.Image.open(path) as opened:
        whole = opened.convert("RGB")
    sizes = [small.size] if whole.size == small.size else [small.size, (240, 200)]  # a cell of the sheet
    found = False
    for size in sizes:
        wanted = np.asarray(small.resize(size).resize((12, 10), PIL.Image.Resampling.BOX), float)
        if whole.size == size:
            places = [(0, 0)]
        else:
            columns, lines = (range(0, side - own + 1, 12) for side, own in zip(whole.size, size, strict=True))
            places = [(x, y) for y in lines for x in columns]
        for x, y in places:
            part = whole.crop((x, y, x + size[0], y + size[1])).resize((12, 10), PIL.Image.Resampling.BOX)
            found = found or np.abs(np.asarray(part, float) - wanted).mean() < 14
    return found


def pictures_below(folder):
    return [path for path in sorted(folder.rglob("*")) if path.suffix in (".jpg", ".png") and path.is_file()]


@pytest.mark.parametrize("min_confidence", [0.0, 1.0])
def test_no_picture_in_the_folder_of_a_redaction_shows_what_it_hides(scene, tiny, min_confidence):
    """Neither a preview nor the contact sheet, of targets that were redacted and of those that were not."""
    told = {}
    summary = redact(
        scene, tiny, min_confidence=min_confidence, on_event=lambda event, **data: told.update({event: data})
    )
    wanted = "applied" if min_confidence == 0 else "abstained"
    assert summary.counts[wanted] == COUNT
    targets = [PIL.Image.open(path) for path in sorted((scene / "photos").iterdir())]
    for path in pictures_below(scene / "out"):
        assert not any(shows(path, target) for target in targets), path
    beside = pictures_below(scene / "out-unredacted")
    (source,) = (path for path in beside if path.name == "source-before.jpg")
    beside.remove(source)
    assert len(beside) == COUNT and all(any(shows(path, target) for target in targets) for path in beside)
    if os.name == "posix":
        assert (scene / "out-unredacted").stat().st_mode & 0o077 == 0
    assert summary.unredacted_folder == str(scene / "out-unredacted")
    html = (scene / "out" / "review.html").read_text()
    assert '"unredacted":"out-unredacted"' in html and "../out-unredacted/review_files/" in html


def test_nothing_says_what_the_targets_of_a_redaction_looked_like(scene, tiny):
    redact(scene, tiny)
    with Journal(journal_path(OutputFolder(scene / "out"))) as journal:
        assert len(journal.rows) == COUNT and not any(row["look"] for row in journal.rows.values())


def test_previews_of_an_earlier_run_leave_the_folder_when_something_is_to_be_hidden(scene, tiny, capsys):
    """Also those that an earlier version, which kept them inside, left there."""
    redact(scene, tiny)
    old = scene / "out" / "review_files" / "ab" / f"{'ab' * 12}-before.jpg"
    for again in (lambda: redact(scene, tiny), lambda: main(["report", str(scene / "out")])):
        old.parent.mkdir(exist_ok=True)
        old.write_bytes(b"a picture")
        again()
        assert not old.exists()
    assert "never publish" in capsys.readouterr().err


def decide(scene, what):
    with Journal(journal_path(OutputFolder(scene / "out"))) as journal:
        job, key = journal.job["fingerprint"], next(iter(journal.rows))
    made = [{"id": key, "decision": what, "note": "", "pins": []}]
    path = scene / "decisions.json"
    path.write_text(json.dumps({"format": "dift-edit review", "version": 1, "job": job, "decisions": made}))
    return main(["apply-review", str(scene / "out"), str(path)])


def test_a_rejected_redaction_leaves_the_folder_and_comes_back(scene, tiny):
    """It was rejected because it hides too little: neither the result nor its preview stays."""
    redact(scene, tiny)
    before = {path.relative_to(scene / "out") for path in pictures_below(scene / "out")}
    result = (scene / "out" / "photo0000.png").read_bytes()
    assert decide(scene, "rejected") == 0
    gone = before - {path.relative_to(scene / "out") for path in pictures_below(scene / "out")}
    assert sorted(path.name[-10:] for path in gone) == ["-after.jpg", "to0000.png"]
    assert (scene / "out-unredacted" / "rejected" / "photo0000.png").read_bytes() == result
    assert rows_of(scene / "out")[0]["output"] == "rejected/photo0000.png"
    assert redact(scene, tiny).kept == COUNT
    assert decide(scene, "accepted") == 0
    assert {path.relative_to(scene / "out") for path in pictures_below(scene / "out")} == before
    assert redact(scene, tiny).kept == COUNT


def test_the_folder_of_pictures_before_a_redaction_is_no_target(scene, tiny):
    redact(scene, tiny)
    found = collect_targets([scene], leave_out=[scene / "out"])
    assert any("unredacted" in target.path for target in found)
    summary = run_batch(
        load_image(scene / "source.png"), Redaction(region=Region.box(8, 8, 32, 24), mode="fill"), [scene],
        scene / "out", featurizer=tiny, settings=TransferSettings(min_confidence=0.0, mirror="never"),
        batch=BatchSettings(preview_size=48, overwrite=True),
    )  # fmt: skip
    assert not any("unredacted" in row.target for row in summary.rows)


def test_a_dry_run_of_a_redaction_leaves_nothing(scene, tiny_model, tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    save_edit(Redaction(region=Region.box(8, 8, 32, 24), mode="fill"), scene / "hide.json")
    words = ["propagate", str(scene / "source.png"), "--edit", str(scene / "hide.json"), str(scene / "photos")]
    assert main([*words, "--model", str(tiny_model), "-o", str(scene / "out"), "--dry-run"]) == 0
    assert not [path for path in place.rglob("*") if path.is_file()] and not (scene / "out").exists()


LEDGERS = (".dift-edit/journal.jsonl", ".dift-edit/lock")
NAMES = (
    "manifest.jsonl", "contact_sheet.jpg", "review.html", "job.toml", "review_files/source.jpg",
    "review_files/edit.png", "photo0001.png",
)  # fmt: skip
FOLDERS = (".dift-edit", "review_files", "rejected", "sub")
KINDS = ("link", "hard link", "fifo", "folder")


@needs_links
@pytest.mark.parametrize("names", [*((name,) for name in LEDGERS), NAMES], ids=[*LEDGERS, "results"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_in_place_of_our_files_is_never_written_through(names, kind, scene, tiny_model, capsys):
    """A link's target stays as it was, a pipe does not stop the run, and the run ends, or is refused in a sentence."""
    victim = scene / "notes.txt"
    victim.write_text("".join(f"line {number} of somebody's notes\n" for number in range(300)))
    before = victim.read_bytes()
    for name in names:
        path = scene / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        place(path, kind, victim)
    status = call_propagate(scene, tiny_model, *(["--overwrite"] if names == NAMES else []))
    assert victim.read_bytes() == before and victim.is_file()
    said = capsys.readouterr().err
    harmless = names == NAMES or (kind == "hard link" and "lock" in names[0])  # what is in a lock does not matter
    assert "Traceback" not in said and (status == 0) == (harmless and kind != "folder"), said
    main(["report", str(scene / "out")])
    main(["apply-review", str(scene / "out"), str(scene / "out" / "review.html")])
    assert victim.read_bytes() == before and "Traceback" not in capsys.readouterr().err
    kept = [scene / "out" / name / "theirs" for name in names] if kind == "folder" else []
    assert all(path.read_text() == "kept" for path in kept)


def place(path, kind, victim):
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "hard link":
        os.link(victim, path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
        (path / "theirs").write_text("kept")


def call_propagate(scene, tiny_model, *more):
    words = ["propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png"), str(scene / "photos")]
    words += ["--model", str(tiny_model), "--min-confidence", "0", "--mirror", "never", "--preview-size", "48"]
    return main([*words, "-o", str(scene / "out"), *more])


@needs_links
@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("inside", [True, False])
def test_a_linked_folder_in_the_output_is_refused_at_once(name, inside, scene, tiny_model, capsys):
    photos = scene / "photos"
    if name == "sub":
        (photos / "sub").mkdir()
        variant(9).save(photos / "sub" / "x.png")
    (scene / "out" / "elsewhere").mkdir(parents=True)
    (scene / "elsewhere").mkdir()
    (scene / "elsewhere" / "x.png").write_bytes(b"theirs")
    (scene / "out" / name).symlink_to(scene / "out" / "elsewhere" if inside else scene / "elsewhere")
    assert call_propagate(scene, tiny_model) == 2
    said = capsys.readouterr().err.strip()
    assert "is a link" in said and name in said and len(said.splitlines()) == 1
    assert [path.name for path in (scene / "elsewhere").iterdir()] == ["x.png"]
    assert (scene / "elsewhere" / "x.png").read_bytes() == b"theirs"
    assert not any((scene / "out" / "elsewhere").iterdir())


@needs_links
def test_a_linked_folder_beside_the_output_of_a_redaction_is_refused(scene, tiny):
    (scene / "public").mkdir()
    (scene / "out-unredacted").symlink_to(scene / "public")
    with pytest.raises(OutputError, match="is a link"):
        redact(scene, tiny)
    assert not any((scene / "public").iterdir())


@needs_links
@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_preview_or_a_result_that_became_a_link_is_not_read(kind, scene, tiny_model):
    """The contact sheet would show the picture behind it, and a pipe would never answer."""
    assert call_propagate(scene, tiny_model) == 0
    secret = scene / "secret.jpg"
    PIL.Image.new("RGB", (48, 40), (255, 0, 255)).save(secret, quality=100)
    for path in [*sorted((scene / "out").rglob("*-after.jpg")), scene / "out" / "photo0001.png"]:
        path.unlink()
        place(path, kind, secret)
    assert main(["report", str(scene / "out"), "--preview-size", "48"]) == 0
    sheet = np.asarray(PIL.Image.open(scene / "out" / "contact_sheet.jpg").convert("RGB")).astype(int)
    assert (np.abs(sheet - (255, 0, 255)).sum(axis=2) < 60).mean() < 0.001
    assert call_propagate(scene, tiny_model) == 0
    row = next(row for row in rows_of(scene / "out") if row["output"] == "photo0001.png")
    path = scene / "out" / "photo0001.png"
    assert not path.is_symlink() and hashlib.sha256(path.read_bytes()).hexdigest() == row["output_sha256"]


@pytest.mark.parametrize("content", [b"somebody's notes\n" * 300, b"no line end", b"\0" * 5000, b'{"id": 1}\n'])
def test_a_file_without_a_line_of_ours_is_not_truncated(content, tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputError, match=r"journal\.jsonl was not written by dift-edit"):
        Journal(path)
    assert path.read_bytes() == content


def test_a_stale_lock_of_a_killed_run_locks_nothing(scene, tiny_model, capsys):
    lock = scene / "out" / ".dift-edit" / "lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("4194304\nsomebody\n")
    os.utime(lock, (2**31, 2**31))  # of a clock that was ahead
    assert call_propagate(scene, tiny_model) == 0
    assert lock.read_text() == "4194304\nsomebody\n"
    held = Lock(lock)
    capsys.readouterr()
    assert call_propagate(scene, tiny_model) == 2 and "Another run" in capsys.readouterr().err
    held.release()
    assert call_propagate(scene, tiny_model) == 0


def test_a_changed_target_leaves_no_earlier_result_or_preview(scene, tiny):
    """It abstains, or cannot be read any more: what it was is gone from the folder, sheet and page."""
    redact(scene, tiny)
    other, broken = scene / "photos" / "photo0000.png", scene / "photos" / "photo0001.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(other)
    with Journal(journal_path(OutputFolder(scene / "out"))) as journal:
        limit = journal.rows
    assert len(limit) == COUNT
    broken.write_bytes(b"no picture")
    summary = redact(scene, tiny)
    states = {Path(row.target).name: row.status for row in summary.rows}
    assert states["photo0001.png"] == "failed"
    assert not (scene / "out" / "photo0001.png").exists()
    with_pictures = sum(status == "applied" for status in states.values())
    assert len(list((scene / "out" / "review_files").rglob("*-after.jpg"))) == with_pictures
    assert len(list((scene / "out-unredacted").glob("review_files/??/*-before.jpg"))) == COUNT - 1


def test_a_changed_target_that_abstains_leaves_no_earlier_result(scene, tiny, monkeypatch):
    from dift_edit.batch import work
    from dift_edit.pipeline import transfer

    def shy(source, edit, target, **options):
        found = transfer(source, edit, target, **options)
        changed = target.pixels[0, 0].tolist() == [1, 2, 3]
        return transfer(source, edit, target, **{**options, "settings": UNSURE}) if changed else found

    monkeypatch.setattr(work, "transfer", shy)
    redact(scene, tiny)
    target = scene / "photos" / "photo0000.png"
    pixels = np.array(PIL.Image.open(target).convert("RGB"))
    pixels[0, 0] = (1, 2, 3)
    PIL.Image.fromarray(pixels).save(target)
    summary = redact(scene, tiny)
    assert [row.status for row in summary.rows] == ["abstained", "applied", "applied"]
    assert not (scene / "out" / "photo0000.png").exists()
    assert len(list((scene / "out" / "review_files").rglob("*-after.jpg"))) == COUNT - 1
    assert not any(shows(path, PIL.Image.open(target)) for path in pictures_below(scene / "out"))


UNSURE = TransferSettings(min_confidence=1.0, mirror="never")


def test_a_result_of_a_killed_run_without_its_row_does_not_stay_when_the_target_abstains(scene, tiny):
    redact(scene, tiny)
    path = scene / "out" / ".dift-edit" / "journal.jsonl"
    path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(True) if b'"type":"row"' not in line))
    for target in (scene / "photos").iterdir():
        target.write_bytes(b"")
    assert redact(scene, tiny).counts["failed"] == COUNT
    of_the_edit = ("contact_sheet.jpg", "source.jpg", "edit.png")
    left = [path for path in pictures_below(scene / "out") if path.name not in of_the_edit]
    assert left == []


def test_overwrite_does_not_remove_a_file_that_no_run_made(scene, tiny):
    (scene / "out").mkdir()
    (scene / "out" / "photo0000.png").write_bytes(b"theirs")
    (scene / "photos" / "photo0000.png").write_bytes(b"no picture")
    assert redact(scene, tiny, overwrite=True).counts["failed"] == 1
    assert (scene / "out" / "photo0000.png").read_bytes() == b"theirs"


DEEP = 100_000
NESTED = {
    "edit.json": '{"format": "dift-edit edit", "x": ' + "[" * DEEP + "]" * DEEP + "}",
    "list.jsonl": '{"path": ' + '{"a":' * DEEP + "1" + "}" * DEEP + "}\n",
    "job.toml": "x = " + "[" * DEEP + "]" * DEEP + "\n",
    "keys.toml": ".".join("a" * DEEP) + " = 1\n",
    "hundred.toml": "x = " + "[" * 100 + "]" * 100 + "\n",
    "decisions.json": "[" * DEEP,
}


@pytest.mark.parametrize("name", NESTED)
def test_nesting_without_end_is_a_sentence(name, scene, tiny_model, capsys):
    """Of an edit, a list of targets, a job and decisions; RecursionError before."""
    path = scene / name
    path.write_text(NESTED[name])
    source, sticker, out = (str(scene / name) for name in ("source.png", "sticker.png", "out"))
    words = {
        "edit.json": ["propagate", source, "--edit", str(path), str(scene / "photos"), "-o", out],
        "list.jsonl": [
            "propagate",
            source,
            "--sticker",
            sticker,
            "--targets-from",
            str(path),
            "-o",
            out,
        ],
        "decisions.json": ["apply-review", out, str(path)],
    }.get(name, ["run", str(path)])
    if name == "decisions.json":
        assert call_propagate(scene, tiny_model) == 0
        capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert name in said and len(said.splitlines()) == 1 and len(said) < 400, said


@pytest.mark.parametrize("pages", [20_000])
def test_a_tiff_of_very_many_pages_is_read_in_the_time_of_a_few(pages, tmp_path):
    """Only the first page is read, so they are not counted: that took time with the square of their number."""
    times = {}
    for count in (20, pages):
        path = tmp_path / f"{count}.tif"
        path.write_bytes(many_pages(count))
        start = time.process_time()
        assert load_image(path).size == (4, 4)
        times[count] = time.process_time() - start
    assert times[pages] < 20 * times[20] + 0.3


def many_pages(count):
    """A TIFF of grey pages with 4 × 4 pixels, all of them the same strip."""
    names = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1), (273, 0), (277, 1), (278, 4), (279, 16)]
    size = 2 + 12 * len(names) + 4
    tags = [(tag, 8 + count * size if tag == 273 else value) for tag, value in names]
    page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    ends = [struct.pack("<I", 8 + number * size if number < count else 0) for number in range(1, count + 1)]
    return b"II*\0\x08\0\0\0" + b"".join(page + end for end in ends) + bytes(range(16))


def lines_of(scene):
    return (scene / "out" / ".dift-edit" / "journal.jsonl").read_bytes().splitlines(keepends=True)


def write_lines(scene, lines):
    (scene / "out" / ".dift-edit" / "journal.jsonl").write_bytes(b"".join(lines))


def checked(record):
    body = json.dumps(record).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


@pytest.mark.parametrize("kind", [b'"type":"job"', b'"type":"plan"', b'"type":"row"'])
@pytest.mark.parametrize("damage", ["cut", "merged", "gone"])
def test_a_damaged_middle_line_of_the_journal_is_recovered_from_the_rows(kind, damage, scene, tiny):
    """A plan's line made everything "not made by this job" before; a job's line, "cannot be continued"."""
    redact(scene, tiny)
    before = {path: path.read_bytes() for path in pictures_below(scene / "out") if "sheet" not in path.name}
    lines = lines_of(scene)
    at = next(number for number, line in enumerate(lines) if kind in line)
    if damage == "cut":
        lines[at] = lines[at][:20] + lines[at][30:]
    elif damage == "merged":  # its end and the line break are lost
        lines[at] = lines[at][:-20]
    else:
        del lines[at]
    write_lines(scene, lines)
    summary = redact(scene, tiny)
    assert summary.counts["applied"] == COUNT and summary.kept >= COUNT - 1
    assert {path: path.read_bytes() for path in before} == before
    write_lines(scene, lines)
    assert main(["report", str(scene / "out")]) == 0
    assert len(list((scene / "out").rglob("*-before.jpg"))) == 0


SHAPES = [
    [], 1, None, {}, {"type": "row"}, {"type": "row", "row": []}, {"type": "row", "row": {"id": "x"}},
    {"type": "row", "row": {"id": ["x"], "target": "x", "status": "applied"}},
    {"type": "row", "row": {"id": "x", "target": "x.png", "status": "applied", "output": "../../x.png"}},
    {"type": "row", "row": {"id": "x", "target": "x.png", "status": "applied", "output": "/etc/passwd"}},
    {"type": "row", "row": {"id": "x", "target": "x.png", "status": "applied", "output": ".dift-edit/journal.jsonl"}},
    {"type": "row", "row": {"id": "x", "target": "x.png", "status": "applied", "size": ["a", "b"]}},
    {"type": "row", "row": {"id": "x", "target": "x.png", "status": "applied", "quad": [[1, 2]]}},
    {"type": "row", "row": {"id": "x", "target": "x.png", "status": "applied", "confidence": "high"}},
    {"type": "plan", "id": "x", "output": "../x"}, {"type": "plan", "id": {}, "output": "x"}, {"type": "plan"},
    {"type": "job", "job": []}, {"type": "job", "job": {"fingerprint": []}}, {"type": "job"}, {"type": "other"},
]  # fmt: skip


def test_lines_of_a_wrong_shape_are_left_out(scene, tiny, capsys):
    """With a checksum that is right: TypeError before. Also where they name results outside the folder."""
    redact(scene, tiny)
    before = {path: path.read_bytes() for path in pictures_below(scene / "out")}
    lines = lines_of(scene)
    extra = [checked(shape) for shape in SHAPES]
    write_lines(scene, [*extra, *lines[:3], *extra, *lines[3:], *extra])
    told = []
    summary = redact(scene, tiny, on_event=lambda event, **data: event == "note" and told.append(data["text"]))
    assert summary.kept == COUNT and f"{3 * len(SHAPES)} damaged lines" in told[0]
    assert {path: path.read_bytes() for path in pictures_below(scene / "out")} == before
    assert main(["report", str(scene / "out")]) == 0 and main(["report", str(scene / "out")]) == 0


@pytest.mark.parametrize("kind", ["replaced", "written", "back again"])
def test_a_target_that_changes_while_it_is_read_never_gets_the_digest_of_another(kind, tmp_path, monkeypatch):
    """The digest is of the bytes that were decoded; where the file does not come to rest, a sentence says so."""
    path = tmp_path / "photo.png"
    first, second = (png(variant(number)) for number in (1, 2))
    path.write_bytes(first)
    changes = iter([second, first] if kind == "back again" else [second])

    def slow(place, **options):
        image = load_image(place, **options)
        for data in changes:
            other = tmp_path / "other"
            other.write_bytes(data)
            if kind == "written":
                path.write_bytes(data)
            else:
                other.replace(path)
        return image

    monkeypatch.setattr(storage, "load_image", slow)
    image, digest = storage.read_image(str(path), max_pixels=10**6)
    decoded = {
        hashlib.sha256(data).hexdigest(): np.asarray(PIL.Image.open(io.BytesIO(data))) for data in (first, second)
    }
    np.testing.assert_array_equal(decoded[digest], image.pixels)
    number = iter(range(99))

    def restless(place, **options):
        image = load_image(place, **options)
        path.write_bytes(png(variant(next(number))))
        return image

    monkeypatch.setattr(storage, "load_image", restless)
    with pytest.raises(DiftEditError, match=r"photo\.png was changed while it was read"):
        storage.read_image(str(path), max_pixels=10**6)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@needs_links
def test_a_target_that_became_a_pipe_or_a_device_is_a_failed_row(scene, tiny):
    targets = collect_targets([scene / "photos"])
    (scene / "photos" / "photo0000.png").unlink()
    os.mkfifo(scene / "photos" / "photo0000.png")
    (scene / "photos" / "photo0001.png").unlink()
    (scene / "photos" / "photo0001.png").symlink_to("/dev/zero")
    summary = run_batch(
        load_image(scene / "source.png"), Redaction(region=Region.box(8, 8, 32, 24), mode="fill"), targets,
        scene / "out", featurizer=tiny, settings=TransferSettings(min_confidence=0.0, mirror="never"),
        batch=BatchSettings(preview_size=48),
    )  # fmt: skip
    assert [row.status for row in summary.rows] == ["failed", "failed", "applied"]
    assert "no regular file" in summary.rows[0].reason


@needs_links
@pytest.mark.parametrize("file", ["0-3-on.jsonl", "0-3-on.npz"])
@pytest.mark.parametrize("kind", ["link", "fifo", "foreign"])
def test_the_journal_of_a_clip_is_not_written_through(file, kind, tmp_path):
    """What lies in its folder under its names: neither truncated nor read, and a pipe does not stop the run."""
    victim = tmp_path / "notes.txt"
    victim.write_text("somebody's notes\n" * 300)
    before = victim.read_bytes()
    folder = tmp_path / "journal"
    assert not clip.TrackStore(folder, "job").resumed
    if kind == "foreign":
        os.link(victim, folder / file)
    else:
        place(folder / file, kind, victim)
    tracker = Tracker(as_image(picture(1, (96, 80))), np.array([[10.0, 10], [50, 10], [50, 40], [10, 40]]), no_finder)
    frames = lambda done: ((i, as_image(picture(1, (96, 80)))) for i in range(1 + done, 4))  # noqa: E731
    passes = clip.TrackStore(folder, "job").track("0-3-on", tracker, 3, frames)
    if kind == "foreign" and file.endswith(".npz"):
        assert len(list(passes)) == 3
    else:
        with pytest.raises(OutputError, match=f"{file} (cannot be used|was not written by dift-edit)"):
            list(passes)
    assert victim.read_bytes() == before


def no_finder(*_words, **_more):
    return None


@needs_links
@pytest.mark.parametrize("name", [".out.gif.dift-edit", ".out.gif.dift-edit/journal", ".out.gif.dift-edit/lock"])
def test_a_linked_folder_of_a_clip_is_refused(name, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "job.json").write_text("{}")
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "theirs")
    with pytest.raises(OutputError, match="link"):
        made = Scratch(tmp_path / "out.gif")
        claim_folder(made.journal, "job", re.compile(r"job\.json"))
    assert (tmp_path / "theirs" / "job.json").read_text() == "{}"


def test_manifests_and_lists_cannot_lead_out_of_the_folder(scene, tiny_model):
    outputs = ["../escaped.png", "/tmp/escaped.png", "a/../../escaped.png", "..\\escaped.png", "rejected/../../e.png",
               ".dift-edit/journal.jsonl", "review.html", "review_files/x.png", "\0.png", "a\n.png"]  # fmt: skip
    rows = [{"path": f"photos/x{i}.png", "id": f"{i}", "output": output} for i, output in enumerate(outputs)]
    for i in range(len(outputs)):
        variant(i).save(scene / "photos" / f"x{i}.png")
    (scene / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outside = sorted(path for path in scene.rglob("*"))
    words = ["propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png"), "--min-confidence", "0"]
    words += ["--targets-from", str(scene / "list.jsonl"), "--model", str(tiny_model), "-o", str(scene / "out")]
    assert main([*words, "--mirror", "never"]) == 0
    assert sorted(path for path in scene.rglob("*") if not path.is_relative_to(scene / "out")) == outside
    assert not Path("/tmp/escaped.png").exists()
    named = [row["output"] for row in rows_of(scene / "out")]
    assert len(set(named)) == len(outputs) and all((scene / "out" / name).is_file() for name in named)


def test_a_folder_that_vanishes_ends_the_run_in_a_sentence_and_leaves_nothing_half(scene, tiny):
    def vanish(event, **_data):
        if event == "row":
            shutil.rmtree(scene / "out", ignore_errors=True)

    with pytest.raises(OutputError, match=r"journal\.jsonl was removed during the run"):
        redact(scene, tiny, on_event=vanish)
    assert not (scene / "out" / "manifest.jsonl").exists() and not list(scene.rglob("*.tmp"))
    assert redact(scene, tiny, overwrite=True).counts["applied"] == COUNT


def test_a_clock_that_was_set_back_changes_nothing(scene, tiny, monkeypatch):
    redact(scene, tiny)
    for path in scene.rglob("*"):
        os.utime(path, (2**31, 2**31), follow_symlinks=False)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert redact(scene, tiny).kept == COUNT


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_a_sentence(scene, tiny):
    redact(scene, tiny)
    for path in [scene / "out", *(scene / "out").rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    with pytest.raises(OutputError, match="rights"):
        redact(scene, tiny, overwrite=True)


def decide_all(scene, what, keys):
    with Journal(journal_path(OutputFolder(scene / "out"))) as journal:
        job = journal.job["fingerprint"]
    made = [{"id": key, "decision": what, "note": "", "pins": []} for key in keys]
    path = scene / "decisions.json"
    path.write_text(json.dumps({"format": "dift-edit review", "version": 1, "job": job, "decisions": made}))
    return main(["apply-review", str(scene / "out"), str(path)])


def test_an_abstained_redaction_that_is_accepted_hides_something_or_stays_abstained(scene, tiny_model, capsys):
    """It goes the way of every redaction: hiding nothing is an error, and no picture of before lies in the folder."""
    edit = Redaction(region=Region.box(16, 12, 16, 16), mode="fill", color="#123456")
    recipe = str(save_edit(edit, scene / "hide.json"))
    arguments = ["propagate", str(scene / "source.png"), "--edit", recipe, "--model", str(tiny_model), "--quiet"]
    out, photos = scene / "out", scene / "photos"
    assert main([*arguments, "--min-confidence", "1", "--mirror", "never", "-o", str(out), str(photos)]) == 1
    rows = rows_of(out)
    assert {row["status"] for row in rows} == {"abstained"}
    with Journal(journal_path(OutputFolder(out))) as journal:  # the placement that the page showed misses this one
        journal.add({**journal.rows[rows[0]["id"]], "matrix": [[1, 0, 5000], [0, 1, 0], [0, 0, 1]], "mesh": None})
    capsys.readouterr()
    keys = [row["id"] for row in rows]
    assert decide_all(scene, "accepted", keys) == 1
    said = capsys.readouterr()
    assert "2 applied as shown" in said.out and "1 not applied" in said.out
    assert "nothing was hidden" in said.err and f"1 of {COUNT} targets were NOT redacted" in said.err
    missed, *done = rows_of(out)
    assert missed["status"] == "abstained" and missed["output"] is None and not (out / "photo0000.png").exists()
    for row in done:
        before, after = (
            np.asarray(PIL.Image.open(path).convert("RGB")) for path in (row["target"], out / row["output"])
        )
        changed = (before != after).any(2)
        assert row["status"] == "applied" and changed.sum() >= 200 and (after[changed] == (0x12, 0x34, 0x56)).all()
    targets = [PIL.Image.open(path) for path in sorted(photos.iterdir())]
    for path in pictures_below(out):
        assert not any(shows(path, target) for target in targets), path
    assert (
        not list(out.rglob("*-before.jpg"))
        and len(list((scene / "out-unredacted").glob("review_files/??/*-before.jpg"))) == COUNT
    )
    # taken back, also by way of "rejected": neither the result nor a preview of it stays
    assert decide_all(scene, "rejected", keys[1:2]) == 0
    assert list((scene / "out-unredacted").rglob("*-rejected.jpg"))
    assert decide_all(scene, "", keys[1:]) == 0
    assert {row["status"] for row in rows_of(out)} == {"abstained"} and not list(out.glob("photo*"))
    kept = [path.name for path in (*out.rglob("*.jpg"), *(scene / "out-unredacted").rglob("*.*"))]
    assert not [name for name in kept if name.endswith(("-after.jpg", "-rejected.jpg", ".png"))]


@needs_links
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_dask_worker_meets_hostile_and_vanishing_targets_and_folders(scene, tiny_model):
    """What is planned is safe; what happens until a worker comes to it costs the targets that it concerns."""
    distributed = pytest.importorskip("distributed")
    photos, out, elsewhere = scene / "photos", scene / "out", scene / "elsewhere"
    (photos / "sub").mkdir()
    variant(9).save(photos / "sub" / "x.png")
    (photos / "torn.png").write_bytes((photos / "photo0000.png").read_bytes()[:200])
    elsewhere.mkdir()
    (elsewhere / "x.png").write_bytes(b"theirs")
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
    with distributed.LocalCluster(processes=False, local_directory=str(scene / "dask"), **options) as cluster:

        def attack(event, **_data):
            if event != "planned":
                return
            (photos / "photo0001.png").unlink()
            (photos / "photo0002.png").unlink()
            os.mkfifo(photos / "photo0002.png")
            (out / "sub").symlink_to(elsewhere)
            shutil.rmtree(cluster.workers[0].local_directory, ignore_errors=True)  # its folder for what does not fit

        def vanish(event, **_data):
            if event == "row":
                shutil.rmtree(out, ignore_errors=True)

        spec = ModelSpec(name=str(tiny_model), settings=SETTINGS)
        address = {"cluster": cluster.scheduler_address}
        counts = redact(scene, spec, on_event=attack, **address).counts
        assert counts == {"applied": 1, "abstained": 0, "failed": 4}
        rows = {Path(row["target"]).name: row for row in rows_of(out)}
        assert rows["photo0000.png"]["status"] == "applied" and "is a link" in rows["x.png"]["reason"]
        for name in ("photo0001.png", "photo0002.png", "torn.png", "x.png"):
            assert rows[name]["output"] is None and name in rows[name]["reason"], name
            assert "\n" not in rows[name]["reason"] and "Error" not in rows[name]["reason"]
        assert [path.name for path in elsewhere.iterdir()] == ["x.png"]
        assert (elsewhere / "x.png").read_bytes() == b"theirs"
        (out / "sub").unlink()
        with pytest.raises(OutputError, match=r"journal\.jsonl was removed during the run"):
            redact(scene, spec, on_event=vanish, retry_failed=True, **address)
        assert not (out / "manifest.jsonl").exists() and not list(scene.rglob("*.tmp"))
