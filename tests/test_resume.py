"""Faults: killed runs, full disks, damaged files, changed targets. After a resume the bytes are those of a calm run."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from batch_data import SETTINGS, bytes_of, forking, make_scene, make_set, picture, rows_of, run_scene
from dift_edit.batch import ModelSpec
from dift_edit.cli import main
from dift_edit.errors import OutputError
from dift_edit.results.journal import Journal

COUNT = 8


@pytest.fixture
def scene(tmp_path):
    return make_scene(tmp_path, COUNT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny):
    """A scene whose run is finished."""
    folder = make_scene(tmp_path_factory.mktemp("finished"), COUNT)
    run_scene(folder, tiny, "out")
    return folder


@pytest.fixture
def done(finished, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(finished, tmp_path / "done")


def bytes_anywhere(folder):
    """`bytes_of` without where the targets lie: the folder was copied."""
    files, rows = bytes_of(folder)
    return files, [{key: value for key, value in row.items() if key != "target"} for row in rows]


def run_in_child(scene, tiny_model, output):
    run_scene(scene, ModelSpec(name=str(tiny_model), settings=SETTINGS), output)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_kill_and_resume_gives_the_bytes_of_a_calm_run(scene, tiny_model, tiny):
    run_scene(scene, tiny, "calm")
    context = forking()
    chance = random.Random(7)
    killed, steps = 0, []
    while killed < 3:
        child = context.Process(target=run_in_child, args=(scene, tiny_model, "out"))
        child.start()
        journal = scene / "out" / ".dift-edit" / "journal.jsonl"
        # Not before this run has added a row or two, so that the kills fall into the work and not into imports.
        wanted = len(steps) + chance.choice([1, 2])
        while child.is_alive() and (not journal.exists() or journal.read_bytes().count(b'"type":"row"') < wanted):
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.02))
        if not child.is_alive():
            break
        child.kill()
        child.join()
        killed += 1
        steps.append(journal.read_bytes().count(b'"type":"row"'))
    assert killed == 3 and steps == sorted(steps)  # later runs went on from where the earlier ones were killed
    summary = run_scene(scene, tiny, "out")
    assert summary.kept >= steps[-1] - 1 and summary.counts["failed"] == 0
    assert bytes_of(scene / "out") == bytes_of(scene / "calm")
    assert not list((scene / "out").rglob("*.tmp"))


def test_a_finished_run_does_nothing_and_damage_is_mended(done, tiny):
    before = bytes_anywhere(done / "out")
    told = []
    assert run_scene(done, tiny, "out", on_event=lambda event, **_: told.append(event)).kept == COUNT
    assert "row" not in told
    (done / "out" / "photo0003.png").write_bytes(b"damaged")
    (done / "out" / "photo0005.png").unlink()
    assert run_scene(done, tiny, "out").kept == COUNT - 2
    assert bytes_anywhere(done / "out") == before


def test_a_changed_target_is_done_again_and_new_ones_are_added(done, tiny):
    picture(77).save(done / "photos" / "photo0002.png")
    picture(78).save(done / "photos" / "new.png")
    rows = []
    summary = run_scene(
        done, tiny, "out", on_event=lambda event, **data: event == "row" and rows.append(data["row"].output)
    )
    assert sorted(map(str, rows)) == sorted(
        map(str, {row.output for row in summary.rows if "0002" in row.id or "new" in row.id})
    )
    assert len(rows) == 2 and summary.kept == COUNT - 1


def test_failed_targets_are_tried_again_only_when_asked_or_changed(scene, tiny):
    bad = scene / "photos" / "photo0004.png"
    good = bad.read_bytes()
    bad.write_bytes(b"")
    assert run_scene(scene, tiny, "out").counts["failed"] == 1
    assert run_scene(scene, tiny, "out").kept == COUNT
    assert run_scene(scene, tiny, "out", retry_failed=True).kept == COUNT - 1
    bad.write_bytes(good)
    assert run_scene(scene, tiny, "out").exit_status == 0


@pytest.mark.slow
def test_another_job_is_refused_until_overwrite(done, tiny):
    with pytest.raises(OutputError, match="another settings"):
        run_scene(done, tiny, "out", min_confidence=0.5)
    with pytest.raises(OutputError, match="holds results already"):
        run_scene(done, tiny, "out", resume=False)
    before = bytes_of(done / "out")
    summary = run_scene(done, tiny, "out", min_confidence=1.0, overwrite=True)
    assert summary.kept == 0 and summary.counts["abstained"] == COUNT
    assert not (done / "out" / "photo0000.png").exists()
    run_scene(done, tiny, "out", overwrite=True)
    assert bytes_of(done / "out")[0] == before[0]


def test_two_runs_do_not_write_to_one_folder(done, tiny):
    with Journal(done / "out" / ".dift-edit" / "journal.jsonl"), pytest.raises(OutputError, match="Another run"):
        run_scene(done, tiny, "out")


@pytest.mark.parametrize("cut", [1, 7, 30])
def test_a_torn_or_damaged_journal_costs_only_its_lines(done, tiny, cut):
    before = bytes_anywhere(done / "out")
    path = done / "out" / ".dift-edit" / "journal.jsonl"
    data = path.read_bytes()[:-cut]
    middle = data.index(b'"type":"row"') + 40
    path.write_bytes(data[:middle] + b"?" + data[middle + 1 :])
    summary = run_scene(done, tiny, "out")
    assert COUNT - 2 <= summary.kept < COUNT
    assert bytes_anywhere(done / "out") == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 700 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_in_one_sentence_and_the_run_goes_on_after(scene, tiny, small_disk):
    make_set(scene / "photos", 12)
    run_scene(scene, tiny, "calm/out")  # as deep as the other: ids are paths from the output folder
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * 600_000)
    with pytest.raises(OutputError, match="disk") as error:
        run_scene(scene, tiny, "disk/out")
    assert "free some space" in str(error.value) and "again" in str(error.value)
    assert not list(small_disk.rglob("*.tmp"))
    ballast.unlink()
    summary = run_scene(scene, tiny, "disk/out")
    assert summary.counts["applied"] == 12 and 0 < summary.kept < 12
    assert bytes_of(small_disk / "out") == bytes_of(scene / "calm" / "out")


def row(key, **values):
    return {"id": key, "target": f"{key}.png", "status": "failed", **values}


def fill(folder, leave=0):
    """Write until the disk is full, but for some bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"0" * 4096)
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))
    return ballast


def test_a_journal_on_a_full_disk_is_one_sentence_and_keeps_what_it_has(small_disk):
    (small_disk / "out").mkdir()
    path = small_disk / "out" / "journal.jsonl"
    with Journal(path) as journal:
        journal.add(row("first"))
        ballast = fill(small_disk)
        with pytest.raises(OutputError, match=r"The journal .* cannot be written .*: free some space") as error:
            for number in range(1000):
                journal.add(row(str(number), note="x" * 500))
        assert len(str(error.value).splitlines()) == 1
        kept = dict(journal.rows)
        ballast.unlink()
        journal.add(row("last"))
    with Journal(path) as journal:
        assert journal.damaged == 0 and journal.rows == {**kept, "last": row("last")}


def test_a_report_on_a_full_disk_is_one_sentence_and_succeeds_after(scene, tiny, small_disk, capsys):
    run_scene(scene, tiny, "disk/out", report=False)
    ballast = fill(small_disk)
    before = rows_of(small_disk / "out")
    assert main(["report", str(small_disk / "out"), "--preview-size", "48"]) in (1, 2)
    said = capsys.readouterr().err.strip()
    assert "disk is full" in said and "free some space" in said and len(said.splitlines()) == 1
    assert rows_of(small_disk / "out") == before and not list(small_disk.rglob("*.tmp"))
    ballast.unlink()
    assert main(["report", str(small_disk / "out"), "--preview-size", "48"]) == 0
    assert (small_disk / "out" / "review.html").exists() and rows_of(small_disk / "out") == before
