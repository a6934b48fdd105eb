"""The fenced blocks of README and docs: Python runs as printed or names what exists, commands and TOML are parsed."""

import argparse
import ast
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import dift_edit as de
from batch_data import picture
from dift_edit import samples
from dift_edit.cli import build_parser
from dift_edit.job import load_job, save_job
from dift_edit.job.defaults import user_defaults

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
RUN = ("batch.md", "edits.md", "matching.md", "mockups.md", "placement.md")
"""Pages whose Python blocks run, besides those with a test of their own; the others need weights, data or clips."""
PLACEHOLDERS = {"BENCHMARK": "pf-willow"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder; of the bundled samples, which the tutorial copies into it, only two targets, to be quick."""
    known = samples.samples()
    known["targets"] = [each for each in known["targets"] if each["file"] in ("kitten.jpg", "coffee.jpg")]
    monkeypatch.setattr(samples, "samples", lambda: known)
    monkeypatch.chdir(tmp_path)
    picture(1, (420, 320)).save("cat.jpg", quality=95)
    return tmp_path


def fences(path):
    """(language, text) of each fenced block of a page."""
    return re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(), re.S | re.M)


def blocks(page):
    return [text for language, text in fences(DOCS / page) if language == "python"]


@pytest.mark.slow
def test_the_tutorial_runs(place, small_network):
    names = {}
    for code in blocks("tutorial-python.md"):
        exec(compile(code, "tutorial-python.md", "exec"), names)
    assert names["result"].status in ("applied", "abstained") and names["summary"].counts
    assert (place / "matches.png").exists() and (place / "out" / "manifest.jsonl").exists()


def test_a_featurizer_of_the_user_s_own_matches_points(place):
    names = {}
    for code in blocks("extending.md"):
        exec(compile(code, "extending.md", "exec"), names)
    colours = names["Colours"]()
    a = colours("cat.jpg")
    assert a.grid_size == (52, 40)
    points = [(100.5, 60.0), (210.0, 120.0)]
    assert abs(de.match_points(a, points, a).points - points).max() < 8


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_python_of_a_page_runs(page, place, small_network):
    """One block after the other."""
    samples.copy_samples("samples")
    cat, kitten = de.load_image("samples/cat.jpg"), de.load_image("samples/photos/kitten.jpg")
    for name, image in {"other.jpg": kitten, "hat.png": de.load_image("samples/glasses.png")}.items():
        image.save(name)
    job = de.Job(
        source="samples/cat.jpg",
        sticker="hat.png",
        at=(122, 104, 620, 478),
        targets=("other.jpg",),
        output="o",
        model="lite",
    )
    save_job(job, "job.toml")
    names = {"source": cat, "target": kitten, "featurizer": small_network}
    for code in blocks(page):
        exec(compile(code, page, "exec"), names)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_python_of_every_page_names_what_exists(path):
    """Each block compiles, and every ``de.…`` and every import of ours in it can be had."""
    for language, code in fences(path):
        assert language in ("python", "sh", "toml", "json", ""), f"{path.name}: a block of the language {language!r}"
        if language != "python":
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dift_edit"):
                module = __import__(node.module, fromlist=["*"])
                assert all(hasattr(module, name.name) for name in node.names), f"{path.name}: {ast.unparse(node)}"
            elif isinstance(node, ast.Attribute):
                chain = ast.unparse(node)
                if re.fullmatch(r"de(\.\w+)+", chain):
                    found = de
                    for name in chain.split(".")[1:]:
                        found = getattr(found, name, None)
                        assert found is not None, f"{path.name}: there is no {chain}"


def commands(path):
    """The words of each command in the shell blocks of a page; quoted words may span lines."""
    for language, text in fences(path):
        if language == "sh":
            words = shlex.split(re.sub(r"\n(?=dift-edit |python |make |pip |OMP)", "\n\0 ", text), comments=True)
            line = []
            for word in [*words, "\0"]:
                if word == "\0":
                    if line and line[0] in ("dift-edit", "python"):
                        yield line
                    line = []
                else:
                    line.append(word)


@pytest.mark.parametrize("path", [path for path in PAGES if list(commands(path))], ids=lambda path: path.name)
def test_commands_of_every_page_are_parsed(path):
    """Each ``dift-edit`` line passes the program's own parser, and each script that is named is there."""
    for line in commands(path):
        words = [PLACEHOLDERS.get(word, word) for word in line]
        if words[0] == "python":
            assert words[1] in ("-c", "-m") or (ROOT / words[1]).is_file(), f"{path.name}: {words[1]} is not there"
        else:
            try:
                build_parser().parse_args(words[1:])
            except (SystemExit, argparse.ArgumentError) as error:
                pytest.fail(f"{path.name}: {line} ({error})")


@pytest.mark.parametrize("path", [path for path in PAGES if any(kind == "toml" for kind, _ in fences(path))], ids=str)
def test_recipes_of_every_page_are_read(path, tmp_path):
    for number, text in enumerate(text for language, text in fences(path) if language == "toml"):
        (tmp_path / f"{number}.toml").write_text(text)
        if "source" in tomllib.loads(text):  # else a part of a recipe, or of config.toml
            assert load_job(tmp_path / f"{number}.toml").targets
        elif path.name == "defaults.md":
            assert user_defaults({}, tmp_path / f"{number}.toml")


def test_the_tests_that_the_security_page_names_exist():
    named = set(re.findall(r"`(?:(test_\w+\.py)(?:::))?(test_\w+)(?:\.py)?`", (DOCS / "security.md").read_text()))
    written = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(named) > 50
    assert not [name for _, name in named if name not in files and f"def {name}(" not in written]


def test_the_published_readme_has_absolute_links_and_the_version_is_in_one_place():
    """A package index shows the README without the files beside it."""
    tool = importlib.util.spec_from_file_location("absolute_links", ROOT / "tools" / "absolute_links.py")
    module = importlib.util.module_from_spec(tool)
    tool.loader.exec_module(module)
    text = (ROOT / "README.md").read_text()
    published = module.absolute(text, "https://host/raw/v1/", "https://host/blob/v1")
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", published)
    assert ("!", "https://host/raw/v1/docs/images/demo.jpg") in links
    assert ("", "https://host/blob/v1/docs/models.md") in links and len(links) == text.count("](")
    assert all(link.startswith("https://") for _, link in links)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]
