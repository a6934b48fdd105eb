"""The Python code of the documentation runs as it is printed there, one block after the other."""

import re
from pathlib import Path

import PIL.Image
import pytest

from batch_data import make_set, picture

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the pages name."""
    monkeypatch.chdir(tmp_path)
    source = picture(1, (420, 320))
    source.save("cat.jpg", quality=95)
    picture(2, (300, 240)).save("other.jpg")
    PIL.Image.new("RGBA", (80, 60), "red").save("hat.png")
    source.paste((20, 220, 20), (100, 100, 180, 160))
    source.save("cat-edited.jpg", quality=95)
    make_set(Path("photos"), 1)
    Path("job.toml").write_text(
        'version = 1\nsource = "cat.jpg"\noutput = "out"\n[edit]\nsticker = "hat.png"\nat = [120, 30, 80, 60]\n'
        '[targets]\npaths = ["photos"]\n'
    )
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
    assert abs(de.match_points(a, a, points).points - points).max() < 8
