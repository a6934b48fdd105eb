"""The Python code of the documentation runs as it is printed there, one block after the other."""

import re
from pathlib import Path

import pytest

from batch_data import picture
from dift_edit import samples

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder; of the bundled samples, which the tutorial copies into it, only two targets, to be quick."""
    known = samples.samples()
    known["targets"] = [each for each in known["targets"] if each["file"] in ("kitten.jpg", "coffee.jpg")]
    monkeypatch.setattr(samples, "samples", lambda: known)
    monkeypatch.chdir(tmp_path)
    picture(1, (420, 320)).save("cat.jpg", quality=95)
    return tmp_path


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)


def test_the_tutorial_runs(place):
    names = {}
    for code in blocks("tutorial-python.md"):
        exec(compile(code, "tutorial-python.md", "exec"), names)
    assert names["result"].status in ("applied", "abstained") and names["summary"].counts
    assert (place / "matches.png").exists() and (place / "out" / "manifest.jsonl").exists()


def test_a_featurizer_of_the_user_s_own_matches_points(place):
    import dift_edit as de

    names = {}
    for code in blocks("extending.md"):
        exec(compile(code, "extending.md", "exec"), names)
    colours = names["Colours"]()
    a = colours("cat.jpg")
    assert a.grid_size == (52, 40)
    points = [(100.5, 60.0), (210.0, 120.0)]
    assert abs(de.match_points(a, points, a).points - points).max() < 8
