"""Edits without Python: regions on the command line and in recipes."""

import json

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dift_edit as de
from batch_data import make_scene, picture, rows_of
from dift_edit.cli import main
from dift_edit.edits import ColorAdjust, Erase, Layers, Redaction, load_region
from dift_edit.errors import DiftEditError, EditError, ImageError
from dift_edit.job.recipe import Job, RegionEdit, load_job
from dift_edit.rendering.compositing import Compositing

SIZE = (48, 40)


@pytest.fixture
def scene(tmp_path):
    return make_scene(tmp_path, 1)


def save_job_of(scene, *edits):
    """The recipe that the command line writes, read again."""
    command = ["propagate", f"{scene}/source.png", f"{scene}/photos", *edits, "--engine", "fixed", "-o", f"{scene}/out"]
    assert main([*command, "--save-job", f"{scene}/job.toml"]) == 0
    return load_job(scene / "job.toml")


def test_a_box_a_polygon_and_a_mask_give_the_same_region(tmp_path):
    inside = np.zeros((40, 48), np.uint8)
    inside[10:20, 5:25] = 255
    PIL.Image.fromarray(inside).save(tmp_path / "mask.png")
    PIL.Image.merge("RGBA", [PIL.Image.new("L", SIZE, 9)] * 3 + [PIL.Image.fromarray(inside)]).save(
        tmp_path / "alpha.png"
    )
    PIL.Image.fromarray(inside.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    corners = [(4.5, 9.5), (24.5, 9.5), (24.5, 19.5), (4.5, 19.5)]
    (tmp_path / "corners.txt").write_text("".join(f"{x} {y}\n" for x, y in corners))
    (tmp_path / "corners.csv").write_text("x,y\r\n" + "".join(f"{x},{y}\r\n" for x, y in corners))
    (tmp_path / "corners.json").write_text(json.dumps(corners))
    expected = load_region("5,10,20,10", SIZE)
    assert expected.origin == (5, 10) and (expected.weight == 1).all() and expected.weight.shape == (10, 20)
    for path in sorted(tmp_path.iterdir()):
        region = load_region(str(path), SIZE)
        assert region.origin == (5, 10) and np.array_equal(region.weight, expected.weight), path.name


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("corners.txt", b"1,2\n3\n", 'give one corner "x, y" a line'),
        ("corners.txt", b"", "The polygon"),
        ("corners.txt", b"1,1\n9,9\n", "three corners"),
        ("corners.csv", b"x,y\n1,nan\n4,4\n9,1\n", "must be finite"),
        ("corners.txt", b"\xff\xfe1", "it is no text"),
        ("corners.json", b'{"a": 1}', "in JSON a list"),
        ("corners.json", b"[" * 100_000, "in JSON a list"),
        ("corners.json", b"[[1e300, 0], [0, 1e300], [5, 5]]", "give points inside the source"),
        ("mask.png", b"no picture", "not a picture"),
    ],
)
def test_a_wrong_file_is_a_sentence(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((EditError, ImageError), match=text) as caught:
        load_region(str(tmp_path / name), SIZE)
    assert name in str(caught.value)


def test_a_mask_of_another_size_or_without_anything_is_a_sentence(tmp_path):
    PIL.Image.new("L", (40, 48), 255).save(tmp_path / "turned.png")
    PIL.Image.new("L", SIZE, 0).save(tmp_path / "empty.png")
    PIL.Image.new("CMYK", SIZE, (0, 0, 0, 0)).save(tmp_path / "white.jpg")
    with pytest.raises(EditError, match="is 40×48 but the source is 48×40"):
        load_region(str(tmp_path / "turned.png"), SIZE)
    with pytest.raises(EditError, match="mask is empty"):
        load_region(str(tmp_path / "empty.png"), SIZE)
    assert (load_region(str(tmp_path / "white.jpg"), SIZE).weight > 0.98).all()
    with pytest.raises(EditError, match="neither a box X,Y,W,H nor a file"):
        load_region("1,2,3", SIZE)
    with pytest.raises(ImageError, match=r"missing\.png does not exist"):
        load_region("missing.png", SIZE)
    with pytest.raises(EditError, match="covers no area"):
        load_region("1,2,3,-4", SIZE)


@pytest.mark.slow
@given(st.text(max_size=20))
def test_any_text_is_a_region_or_a_sentence(text):
    try:
        load_region(text, SIZE)
    except DiftEditError as error:
        assert str(error).endswith((".", "…."))


def test_the_command_gives_the_edits_in_their_order(scene):
    edit = [
        "--erase", "1,1,6,6", "--redact", "10,10,8,8,mode=fill,color=#ff0000,margin=0", "--recolour",
        "20,20,9,9,hue=90,saturation=0.5,opacity=0.25", "--redact", "30,5,9,9,cells=2",
    ]  # fmt: skip
    job = save_job_of(scene, *edit)
    assert job.edits == (
        RegionEdit("erase", "1,1,6,6"),
        RegionEdit("redact", "10,10,8,8", {"mode": "fill", "color": "#ff0000", "margin": 0.0}),
        RegionEdit("recolour", "20,20,9,9", {"hue": 90.0, "saturation": 0.5}, Compositing(opacity=0.25)),
        RegionEdit("redact", "30,5,9,9", {"cells": 2}),
    )
    made = job.load_edit(de.load_image(job.source))
    assert isinstance(made, Layers)
    assert [type(part) for part in made.edits] == [Erase, Redaction, ColorAdjust, Redaction]
    assert made.edits[1].mode == "fill" and made.edits[2].hue == 90 and made.settings[2].opacity == 0.25


def test_a_recipe_may_name_a_box_as_numbers_and_files_relative_to_itself(scene):
    folder = scene / "recipes"
    folder.mkdir()
    PIL.Image.new("L", SIZE, 255).save(folder / "all.png")
    (folder / "job.toml").write_text(
        'source = "../source.png"\noutput = "../out"\n[targets]\npaths = ["../photos"]\n[transfer]\nengine = "fixed"\n'
        '[[edit.layers]]\nredact = [4, 4, 8, 8]\nmode = "fill"\nmargin = 0\n[[edit.layers]]\nrecolour = "all.png"\n'
        "saturation = 0\n"
    )
    job = load_job(folder / "job.toml")
    assert job.edits[0] == RegionEdit("redact", "4,4,8,8", {"mode": "fill", "margin": 0})
    assert job.edits[1].region == str(folder / "all.png")
    assert main(["run", str(folder / "job.toml"), "--quiet"]) == 0
    result = de.load_image(scene / "out" / "photo0000.png").pixels.astype(int)
    assert np.ptp(result, axis=2).max() <= 2 and not result[6:10, 6:10].any()
    assert load_job(scene / "out" / "job.toml").edits == job.edits


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("redact = [1, 2, 3]", "redact must be 4 numbers"),
        ('redact = "1,2,3,4"\nerase = "1,2,3,4"', "must have  file = .* or one of redact, recolour, erase"),
        ("", "must have  file = .* or one of redact, recolour, erase"),
        ('redact = "1,2,3,4"\nhue = 3', "unknown key 'hue'"),
        ('recolour = "1,2,3,4"\nhue = "red"', "hue in .* must be of the kind float"),
        ('redact = "1,2,3,4"\ncells = true', "cells in .* must be of the kind int"),
        ("erase = 5", "erase must be 4 numbers"),
    ],
)
def test_a_wrong_layer_of_a_recipe_is_a_sentence(tmp_path, layer, text):
    (tmp_path / "job.toml").write_text(f'source = "a.png"\noutput = "out"\n[[edit.layers]]\n{layer}\n')
    with pytest.raises(DiftEditError, match=text):
        load_job(tmp_path / "job.toml")


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (("--redact", "1,1,5,5,mode=hide"), "redaction mode is 'hide'"),
        (("--redact", "1,1,5,5,cells=many"), "cells cannot be 'many'"),
        (("--recolour", "1,1,5,5"), "changes nothing"),
        (("--recolour", "1,1,5,5,huge=3"), "there is no 'huge'"),
        (("--erase", "1,1,5,5,mode=fill"), "there is no 'mode'"),
        (("--erase", "0,0,48,40"), "The region covers all of"),
        (("--redact", "100,100,5,5"), "lies outside the source"),
    ],
)
def test_a_wrong_edit_is_a_sentence_and_status_2(scene, edit, text, capsys):
    command = ["propagate", f"{scene}/source.png", f"{scene}/photos", *edit, "--engine", "fixed", "-o", f"{scene}/out"]
    assert main([*command, "--quiet"]) == 2
    said = capsys.readouterr().err
    assert text in said and "Traceback" not in said


def test_a_redaction_from_the_command_line_counts_as_one(scene):
    picture(5, (4, 4)).save(scene / "photos" / "small.png")
    command = ["propagate", f"{scene}/source.png", f"{scene}/photos", "--redact", "30,30,8,8", "--engine", "fixed"]
    assert main([*command, "-o", f"{scene}/out", "--quiet"]) == 1
    rows = {row["output"]: row for row in rows_of(scene / "out")}
    assert rows[None]["status"] == "abstained" and "outside" in rows[None]["reason"]
    assert (scene / "out-unredacted").exists()


def test_a_job_with_a_region_alone_is_a_job():
    assert Job(source="a.png", output="out", edits=(RegionEdit("erase", "1,1,2,2"),)).edits
    with pytest.raises(EditError, match="--redact, --recolour, --erase"):
        Job(source="a.png", output="out")
