"""Processes and dask give the bytes of one process; a dying worker costs nothing."""

import os
import signal
import time

import psutil
import pytest

from batch_data import bytes_of, make_scene, run_scene
from dift_edit.batch import ModelSpec

COUNT = 8


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = make_scene(tmp_path_factory.mktemp("runners"), COUNT)
    (folder / "photos" / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def spec():
    return ModelSpec(name="lite", settings={"image_size": 96})


@pytest.fixture(scope="module")
def calm(scene, spec):
    run_scene(scene, spec, "calm")
    return bytes_of(scene / "calm")


def kill_one_worker_at_the_third_row(words):
    """A listener that kills one worker process, once."""
    seen = []

    def on_event(event, **_data):
        if event != "row":
            return
        seen.append(event)
        if len(seen) == 3:
            for child in psutil.Process().children(recursive=True):
                if any(word in " ".join(child.cmdline()) for word in words) and child.memory_info().rss > 100e6:
                    victims.append(child.pid)
            if victims:
                os.kill(victims[-1], signal.SIGKILL)

    victims = []
    on_event.victims = victims
    return on_event


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_two_processes_one_of_them_killed(scene, spec, calm):
    on_event = kill_one_worker_at_the_third_row(["forkserver", "spawn_main"])
    summary = run_scene(scene, spec, "two", workers=2, on_event=on_event)
    assert on_event.victims
    assert summary.counts == {"applied": COUNT, "abstained": 0, "failed": 1}
    assert bytes_of(scene / "two") == calm


@pytest.mark.slow
def test_dask_with_a_worker_killed(scene, spec, calm):
    pytest.importorskip("distributed")
    on_event = kill_one_worker_at_the_third_row(["spawn_main", "forkserver"])
    run_scene(scene, spec, "dask", workers=2, cluster="local", on_event=on_event)
    assert on_event.victims
    assert bytes_of(scene / "dask") == calm


def working():
    """Processes below this one that hold a loaded model (the fork server itself, and dask's, hold none)."""
    return {child.pid for child in psutil.Process().children(recursive=True) if child.ppid() != os.getpid()}


@pytest.mark.slow
def test_no_process_is_left_when_a_run_is_stopped(scene, spec):
    before = working()
    seen = []

    def on_event(event, **_data):
        if event == "row":
            seen.extend(working() - before)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_scene(scene, spec, "stopped", workers=2, on_event=on_event)
    assert len(set(seen)) == 2
    end = time.monotonic() + 10
    while working() - before and time.monotonic() < end:
        time.sleep(0.05)
    assert not working() - before
    assert (scene / "stopped" / "manifest.jsonl").exists()
