"""Finding targets and naming their results."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_data import picture
from dift_edit.batch import run_batch
from dift_edit.errors import DiftEditError, OutputError
from dift_edit.results.names import name_outputs, safe_name
from dift_edit.targets.collect import Target, collect_targets
from trials import trials


@pytest.fixture
def photos(tmp_path):
    for name in ("a/cat.png", "b/cat.png", "b/deep/dog.JPG", "top.webp", ".hidden.png", "a/.thumbs/x.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(0).save(path, {"JPG": "JPEG"}.get(name[-3:]))
    (tmp_path / "notes.txt").write_text("no picture")
    picture(0).save(tmp_path / "unnamed", "PNG")
    return tmp_path


def names(found):
    return [target.name for target in found]


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_is_one_target_or_one_folder(photos, kind):
    assert names(collect_targets(kind(photos))) == names(collect_targets([photos]))
    assert names(collect_targets(f"{photos}/")) == names(collect_targets([photos]))
    assert [target.path for target in collect_targets(kind(photos / "none.jpg"))] == [str(photos / "none.jpg")]
    assert names(collect_targets(photos, leave_out=kind(photos / "b"))) == names(
        collect_targets([photos], leave_out=[photos / "b"])
    )


def test_a_folder_is_searched_with_sub_folders_and_says_what_it_skips(photos):
    found = collect_targets([photos])
    assert names(found) == ["top.webp", "unnamed", "a/cat.png", "b/cat.png", "b/deep/dog.JPG"]
    assert found.skipped == [(str(photos / "notes.txt"), "it is not an image")]


def test_globs_files_and_missing_ones(photos):
    assert names(collect_targets([str(photos / "*" / "*.png")])) == ["a/cat.png", "b/cat.png"]
    assert names(collect_targets([str(photos / "**" / "*.JPG")])) == ["b/deep/dog.JPG"]
    missing = collect_targets([photos / "none.jpg", str(photos / "no*ne")])
    assert [target.path for target in missing] == [str(photos / "none.jpg"), str(photos / "no*ne")]
    odd = photos / "what[1]?.png"
    picture(0).save(odd)
    assert [target.path for target in collect_targets([odd])] == [str(odd)]


def test_names_that_no_file_can_have_are_said(photos, tmp_path):
    found = collect_targets(["a\0b.png", photos])
    assert len(found) and found.skipped[0] == ("a\0b.png", "its name has a NUL character, which no file can have")
    for output in ("", "a\0b"):
        with pytest.raises(OutputError, match="The output folder cannot be"):
            run_batch(np.zeros((9, 9, 3), np.uint8), None, photos, output)


def test_no_file_twice_and_none_of_the_edit_s_own(photos):
    twice = collect_targets([photos, photos / "top.webp", f"{photos}/a/../top.webp"])
    assert len(twice) == 5
    left = collect_targets([photos], leave_out=[photos / "b", photos / "top.webp"])
    assert names(left) == ["unnamed", "a/cat.png"]
    assert (str(photos / "top.webp"), "it belongs to the edit itself") in left.skipped


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl", "parquet"])
def test_lists(photos, kind):
    path = photos / f"list.{kind}"
    rows = [{"path": "a/cat.png", "id": "one"}, {"path": str(photos / "b/cat.png"), "id": "two"}]
    if kind == "txt":
        path.write_text("# pictures\na/cat.png\n\n" + str(photos / "b/cat.png") + "\n")
    elif kind == "csv":
        path.write_text("id,path\n" + "".join(f'{row["id"]},"{row["path"]}"\n' for row in rows))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    found = collect_targets([], lists=[path])
    assert [target.path for target in found] == [str(photos / "a/cat.png"), str(photos / "b/cat.png")]
    if kind != "txt":
        assert [target.id for target in found] == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("no.csv", None, "cannot be read"),
        ("x.csv", "id,name\n1,2\n", "column 'path'"),
        ("x.jsonl", "{broken\n", "damaged"),
        ("x.jsonl", "[1]\n", "names no target"),
        ("x.csv", "id,path\na,1.png\na,2.png\n", "unique"),
        ("x.parquet", "PAR?", "damaged"),
    ],
)
def test_bad_lists_are_named(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DiftEditError, match=words) as error:
        collect_targets([], lists=[tmp_path / name])
    assert str(tmp_path / name) in str(error.value) or words == "unique"


def target(name, key=None, group=""):
    return Target(id=key or name, path=name, name=name, group=group)


def test_equal_names_are_kept_apart():
    chosen = name_outputs(
        [
            target("cat.png", "1", "a"),
            target("CAT.png", "2", "b"),
            target("cat.png", "3", "a"),
            target("cat.png", "4", "a"),
        ]
    )
    assert chosen["1"] == "cat.png"
    assert chosen["2"] == "b/CAT.png"
    assert chosen["3"] == "a/cat.png"
    assert len({name.casefold() for name in chosen.values()}) == 4
    again = name_outputs([target("cat.png", "9", "a"), target("cat.png", "1", "a")], chosen)
    assert again["1"] == "cat.png" and again["9"] not in chosen.values()


def test_a_file_is_never_another_s_folder_nor_one_of_ours():
    chosen = name_outputs([target("x.png", "1"), target("x.png/y.png", "2"), target("manifest.jsonl/a.png", "3")])
    assert chosen["1"] == "x.png"
    assert not chosen["2"].startswith("x.png/")
    assert chosen["3"] == "_manifest.jsonl/a.png"
    assert name_outputs([target("contact_sheet.jpg")])["contact_sheet.jpg"] == "_contact_sheet.jpg"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photos/My cat's (best) day & night, #1.jpg", "photos/My cat's (best) day & night, #1.jpg"),
        ('a "b" <c>|?*.jpg', "a %22b%22 %3Cc%3E%7C%3F%2A.jpg"),
        ("\u061cgnp.jpg", "%D8%9Cgnp.jpg"),
        ("CON.jpg", "_CON.jpg"),
        ("con", "_con.png"),
        ("sub/aux/Lpt1 .tar.png", "sub/_aux/_Lpt1 .tar.png"),
        ("COM\u00b2.png", "_COM\u00b2.png"),
        ("console.png", "console.png"),
        ("c:x.jpg", "c%3Ax.jpg"),
        ("x.jpg:stream.png", "x.jpg%3Astream.png"),
        ("a./b /c.png", "a%2E/b%20/c.png"),
        ("../../etc/passwd", "etc/passwd.png"),
        ("/abs/./x.png", "abs/x.png"),
        ("a\nb\t.png", "a%0Ab%09.png"),
        (os.fsdecode(b"caf\xe9.png"), "caf%E9.png"),
        ("", "picture.png"),
        ("photo.heic", "photo.heic"),
        ("photo.psd", "photo.psd.png"),
        ("\u202egnp.jpg", "%E2%80%AEgnp.jpg"),
        ("日本.png", "日本.png"),
    ],
)
def test_names_are_kept_where_they_are_harmless(name, safe):
    assert safe_name(name) == safe


@trials(60)
@given(st.text(max_size=400), st.lists(st.text(max_size=300), max_size=20))
def test_any_name_stays_in_its_folder(last, parts):
    name = safe_name("/".join([*parts, last]))
    assert not name.startswith("/") and ".." not in name.split("/")
    assert all(part and len(part.encode()) <= 255 for part in name.split("/"))
    assert len(name.encode()) < 1100 and not set(name) & set(map(chr, range(32))) and "\\" not in name
    assert safe_name(name) == name


@pytest.mark.skipif(sys.platform == "win32", reason="Windows names have no bytes")
def test_names_that_are_not_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    picture(0).save(os.fsdecode(raw))
    found = collect_targets([tmp_path])
    assert os.fsencode(found.targets[0].path) == raw
