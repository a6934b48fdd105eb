"""Annotations carried: every part of an object, many targets, killed runs, the command line."""

import json
import runpy
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dift_edit as de
from batch_data import SETTINGS, forking, make_set, picture, rows_of
from dift_edit.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Category,
    Curve,
    Keypoint,
    ObjectMask,
    Outline,
    read_annotations,
    write_annotations,
)
from dift_edit.batch import ModelSpec, annotate, annotate_batch
from dift_edit.cli import main
from dift_edit.errors import AnnotationError, OutputError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.landmarks.carry import carry_object, landmarks_of
from dift_edit.landmarks.stored import annotated_from_bytes, object_from_dict, object_to_dict
from dift_edit.samples import FOLDER
from dift_edit.settings import AnnotateSettings, BatchSettings
from dift_edit.viz import draw_annotations

SIZE = (48, 40)
SHIFT = MatrixTransform(np.array([[1.0, 0, 4], [0, 1, 3], [0, 0, 1]]))


def everything() -> AnnotatedObject:
    pixels = np.zeros((40, 48), bool)
    pixels[10:20, 12:30] = True
    pixels[13:15, 15:18] = False
    return AnnotatedObject(
        category="leaf",
        id="7",
        box=(10, 8, 30, 22),
        outlines=[Outline(np.array([(10, 8), (30, 9), (28, 22)]), (np.array([(20, 12), (23, 12), (22, 15)]),))],
        curves=[Curve(np.array([(10, 10), (16, 12), (20, 11), (26, 15)]), name="vein")],
        mask=ObjectMask.of(pixels),
        keypoints=[
            Keypoint("left_end", 10, 10),
            Keypoint("right_end", 28, 20, "hidden"),
            Keypoint("tip", 0, 0, "missing"),
        ],
        attributes={"whole": True},
    )


def carried(thing, transform=SHIFT, size=SIZE, **more):
    points = transform(landmarks_of(thing))
    names = {"point_confidence": np.linspace(0.9, 0.6, len(points)), "confidence": 0.8, "least": 0.1} | more
    category = Category(name="leaf", keypoints=[keypoint.name for keypoint in thing.keypoints])
    target = de.as_image(np.zeros((size[1], size[0], 3), np.uint8))
    return carry_object(thing, category, transform=transform, points=points, target=target, source_size=SIZE, **names)


def test_every_part_of_an_object_is_carried():
    thing, moved = everything(), carried(everything())
    assert moved.category == "leaf" and moved.id == "7" and moved.confidence == 0.8
    np.testing.assert_allclose(moved.box, np.array(thing.box) + [4, 3, 4, 3], atol=1e-6)
    np.testing.assert_allclose(moved.outlines[0].points, thing.outlines[0].points + [4, 3])
    np.testing.assert_allclose(moved.outlines[0].holes[0], thing.outlines[0].holes[0] + [4, 3])
    np.testing.assert_allclose(moved.curves[0].points, thing.curves[0].points + [4, 3])
    assert (moved.mask.left, moved.mask.top) == (16, 13) and (moved.mask.pixels == thing.mask.pixels).all()
    assert [(k.name, k.x, k.y, k.visibility) for k in moved.keypoints[:2]] == [
        ("left_end", 14, 13, "visible"), ("right_end", 32, 23, "hidden"),
    ]  # fmt: skip
    assert moved.keypoints[0].confidence == 0.9 and moved.keypoints[2].missing


def test_what_is_outside_or_unsure_is_missing():
    far = MatrixTransform(np.array([[1.0, 0, 22], [0, 1, 0], [0, 0, 1]]))
    moved = carried(everything(), far)
    assert not moved.keypoints[0].missing and moved.keypoints[1].missing
    assert moved.box[2] == 47.5 and moved.outlines[0].points[:, 0].max() <= 47.5
    assert moved.mask.in_image(SIZE).any()
    unsure = carried(everything(), least=0.85)
    assert [keypoint.missing for keypoint in unsure.keypoints] == [False, True, True]
    gone = MatrixTransform(np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]]))
    assert carried(everything(), gone) is None


def test_sides_are_swapped_only_when_asked():
    plain, swapped = carried(everything()), carried(everything(), swap_sides=True)
    assert [k.x for k in plain.keypoints[:2]] == [14, 32]
    assert [(k.name, k.x) for k in swapped.keypoints[:2]] == [("left_end", 32), ("right_end", 14)]


def test_a_curve_keeps_its_order_and_takes_its_ends_from_the_landmarks():
    thing = AnnotatedObject(category="leaf", curves=everything().curves)
    points = SHIFT(landmarks_of(thing)) + [[1, -1], [-2, 1]]
    moved = carry_object(
        thing, Category(name="leaf"), transform=SHIFT, points=points, point_confidence=np.ones(2), confidence=1.0,
        least=0.1, target=de.as_image(np.zeros((40, 48, 3), np.uint8)), source_size=SIZE,
    )  # fmt: skip
    np.testing.assert_allclose(moved.curves[0].points[[0, -1]], points)
    assert (np.diff(moved.curves[0].points[:, 0]) > 0).all()


def test_the_box_of_a_turned_object_is_that_of_what_it_holds():
    angle = np.radians(45)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([50, 50]) - turn @ [50, 50]
    transform = MatrixTransform(np.array([[*turn[0], shift[0]], [*turn[1], shift[1]], [0, 0, 1]]))
    moved = carried(AnnotatedObject(category="leaf", box=(40, 40, 60, 60)), transform, (100, 100))
    np.testing.assert_allclose(moved.box, (40, 40, 60, 60), atol=0.1)


def test_a_mask_ends_at_the_edge_of_the_target():
    y, x = np.mgrid[:160, :200]
    disk = (x - 100) ** 2 + (y - 80) ** 2 < 50**2
    noise = np.random.default_rng(0).normal(0, 5, (160, 200, 3))
    target = de.as_image(
        (np.where(disk[..., None], (200, 120, 40), (40, 60, 90)) + noise).clip(0, 255).astype(np.uint8)
    )
    thing = AnnotatedObject(category="disk", mask=ObjectMask.of(np.roll(disk, -3, 1)))
    moved = carry_object(
        thing, Category(name="disk"), transform=MatrixTransform(np.eye(3)), points=np.zeros((0, 2)),
        point_confidence=np.zeros(0), confidence=1.0, least=0.1, target=target, source_size=(200, 160),
    )  # fmt: skip
    before, after = ((mask.in_image((200, 160)) ^ disk).sum() for mask in (thing.mask, moved.mask))
    assert after < 0.5 * before


def test_plain_data_hold_everything():
    plain = json.loads(json.dumps(object_to_dict(everything())))
    again = object_from_dict(plain)
    assert object_to_dict(again) == plain and (again.mask.pixels == everything().mask.pixels).all()


def test_annotations_are_drawn():
    image = de.as_image(np.full((40, 48, 3), 200, np.uint8))
    drawn = draw_annotations(image, [carried(everything())], labels=False)
    assert drawn.size == SIZE and (drawn.pixels != 200).any()
    red, green, _ = drawn.pixels[13, 14].astype(int)
    assert green > red  # sure


def labels(folder):
    picture(1).save(folder / "source.png")
    thing = everything()
    known = Annotations([AnnotatedImage(path="source.png", size=SIZE, objects=[thing])])
    write_annotations(known, folder / "labels.json", format="coco")
    make_set(folder / "photos", 6)
    return known


def run(folder, model, output, **batch):
    return annotate_batch(
        folder / "source.png", folder / "labels.json", [folder / "photos"], folder / output, featurizer=model,
        settings=AnnotateSettings(min_confidence=0, min_keypoint_confidence=0, mirror="never"),
        batch=BatchSettings(preview_size=48, **batch),
    )  # fmt: skip


def run_in_child(folder, tiny_model, output):
    run(folder, ModelSpec(name=str(tiny_model), settings=SETTINGS), output)


@pytest.mark.slow
def test_killed_or_in_two_processes_the_annotations_have_the_same_bytes(tmp_path, tiny_model, tiny):
    labels(tmp_path)
    calm = run(tmp_path, tiny, "calm")
    assert calm.counts == {"applied": 6, "abstained": 0, "failed": 0}
    whole = (tmp_path / "calm" / "annotations.json").read_bytes()
    context = forking()
    child = context.Process(target=run_in_child, args=(tmp_path, tiny_model, "out"))
    child.start()
    journal = tmp_path / "out" / ".dift-edit" / "journal.jsonl"
    while child.is_alive() and (not journal.exists() or journal.read_bytes().count(b'"type":"row"') < 2):
        time.sleep(0.002)
    child.kill()
    child.join()
    assert not (tmp_path / "out" / "annotations.json").exists()
    again = run(tmp_path, ModelSpec(name=str(tiny_model), settings=SETTINGS), "out", workers=2)
    assert again.kept >= 1
    assert (tmp_path / "out" / "annotations.json").read_bytes() == whole
    found = read_annotations(tmp_path / "calm" / "annotations.json", images=tmp_path / "photos")
    assert len(found.images) == 6 and all(len(image.objects) == 1 for image in found.images)
    assert (tmp_path / "calm" / "review.html").is_file()
    row = rows_of(tmp_path / "calm")[0]
    assert row["output"].startswith("targets/") and row["engine"] == "landmarks"


@pytest.mark.slow
def test_the_command_line_writes_the_format_of_the_labels_or_another(tmp_path, tiny_model, capsys):
    labels(tmp_path)
    command = [
        "annotate",
        f"{tmp_path}/source.png",
        f"{tmp_path}/labels.json",
        f"{tmp_path}/photos",
        "--model",
        str(tiny_model),
    ]
    quiet = ["--min-confidence", "0", "--mirror", "never", "--no-report", "--quiet"]
    assert main([*command, "-o", f"{tmp_path}/out", *quiet]) == 0
    assert len(read_annotations(tmp_path / "out" / "annotations.json").images) == 6
    assert main([*command, "-o", f"{tmp_path}/tps", "--format", "tps", *quiet]) == 0
    assert (tmp_path / "tps" / "annotations.tps").is_file()
    assert "cannot hold" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["labelme", "yolo", "napari"])
def test_a_linked_folder_in_the_output_is_not_written_through(format_, tmp_path, tiny, capsys):
    labels(tmp_path)
    elsewhere, output = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    output.mkdir()
    (output / format_).symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(OutputError, match="link"):
        annotate_batch(
            tmp_path / "source.png", tmp_path / "labels.json", [tmp_path / "photos"], output, featurizer=tiny,
            settings=AnnotateSettings(min_confidence=0, mirror="never"), batch=BatchSettings(report=False),
            format=format_,
        )  # fmt: skip
    assert not list(elsewhere.iterdir()) and len(rows_of(output)) == 6


@pytest.mark.slow
def test_what_is_not_found_or_rejected_leaves_no_annotations_and_every_format_agrees(tmp_path, tiny, capsys):
    labels(tmp_path)
    for number, name in enumerate(("a/x.png", "a/y.png", "a/y.bmp", "b/x.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(number + 2).save(tmp_path / name)
    out, notes = tmp_path / "out", []

    def annotated(format, least=0.0, folders="ab", **batch):
        settings = AnnotateSettings(min_confidence=least, min_keypoint_confidence=0, mirror="never")
        targets = [tmp_path / each for each in folders]
        return annotate_batch(
            tmp_path / "source.png", tmp_path / "labels.json", targets, out, featurizer=tiny,
            settings=settings, batch=BatchSettings(**{"report": False, **batch}), format=format,
            on_event=lambda event, **data: notes.append(data.get("text", "")),
        )  # fmt: skip

    def files(folder):
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    assert annotated("napari", 1.0, "b").counts["abstained"] == 1
    assert f"Nothing was found, so there is no {out / 'napari'}." in notes and not files(out / "napari")
    assert annotated("napari", overwrite=True).counts["applied"] == 4
    stems = ["a/x", "x", "y.bmp", "y.png"]  # b/x.png was there before a/x.png
    assert files(out / "napari") == [f"{stem}.{kind}.csv" for stem in stems for kind in ("points", "shapes")]
    assert annotated("deeplabcut").kept == 4
    rows, table = rows_of(out), out / "CollectedData_dift-edit.csv"
    assert sorted(row["output"] for row in rows) == [
        f"targets/{n}.json" for n in ("a/x.png", "x.png", "y.bmp", "y.png")
    ]
    first = [row for row in rows if row["output"] == "targets/a/x.png.json"]
    job = rows[0]["job"]

    def review(rejected):
        decisions = [{"id": row["id"], "decision": "rejected", "note": "blurred", "pins": []} for row in rejected]
        plain = {"format": "dift-edit review", "version": 1, "job": job, "decisions": decisions}
        (tmp_path / "decisions.json").write_text(json.dumps(plain))
        return main(["apply-review", str(out), str(tmp_path / "decisions.json")])

    assert review(first) == 0 and not list((out / "napari" / "a").iterdir()) and len(files(out / "napari")) == 6
    found = {image.path: len(image.objects) for image in read_annotations(table).images}
    assert found == {"a/x.png": 0, "x.png": 1, "y.bmp": 1, "y.png": 1}
    assert table.with_suffix(".confidence.csv").is_file()
    (out / "targets" / "x.png.json").rename(tmp_path / "away")
    assert review(first) == 2 and "targets/x.png.json cannot be read" in capsys.readouterr().err
    (tmp_path / "away").rename(out / "targets" / "x.png.json")
    assert review(rows) == 0 and not files(out / "napari") and not table.with_suffix(".confidence.csv").exists()
    assert {len(image.objects) for image in read_annotations(table).images} == {0}
    (out / ".dift-edit" / "annotations.json").unlink()
    capsys.readouterr()
    assert review(rows) == 2 and "run the job again" in capsys.readouterr().err
    assert {row["note"] for row in rows_of(out)} == {"blurred"}
    with pytest.raises(AnnotationError, match="no keypoints"):
        box = AnnotatedImage(path="source.png", size=SIZE, objects=[AnnotatedObject(category="leaf", box=(1, 2, 9, 9))])
        annotate_batch(
            tmp_path / "source.png", Annotations([box]), [tmp_path / "a"], tmp_path / "none", featurizer=tiny,
            format="deeplabcut",
        )  # fmt: skip
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_of_several_sources_each_target_gets_the_one_that_it_shows(lite):
    cat, coffee = FOLDER / "cat.jpg", FOLDER / "coffee.jpg"
    face = [Keypoint("left", 629, 273), Keypoint("right", 341, 233), Keypoint("nose", 470, 400)]
    cup = [Keypoint("a", 150, 150), Keypoint("b", 400, 160), Keypoint("c", 300, 350)]
    known = Annotations([
        AnnotatedImage(path="coffee.jpg", objects=[AnnotatedObject(category="cup", keypoints=cup)]),
        AnnotatedImage(path="cat.jpg", objects=[AnnotatedObject(category="face", keypoints=face)]),
    ])  # fmt: skip
    (result,) = annotate([coffee, cat], known, FOLDER / "kitten.jpg", featurizer=lite)
    assert result.status == "applied" and [thing.category for thing in result.annotated.objects] == ["face"]
    assert result.image.size == result.annotated.size


@pytest.mark.slow
def test_an_object_that_is_not_there_is_not_found(lite):
    """A cat's face on a cup of coffee, and the place of the whole: neither is sure."""
    eyes = [Keypoint("left_eye", 629, 273), Keypoint("right_eye", 341, 233), Keypoint("nose", 470, 400)]
    face = AnnotatedImage(path="cat.jpg", objects=[AnnotatedObject(category="face", keypoints=eyes)])
    targets = [FOLDER / "coffee.jpg", FOLDER / "kitten.jpg"]
    coffee, kitten = annotate(FOLDER / "cat.jpg", face, targets, featurizer=lite)
    assert coffee.status == "abstained" and not coffee.annotated.objects and coffee.placement.confidence < 0.3
    assert kitten.status == "applied" and kitten.placement.confidence > 0.5


def test_unusable_sources_are_refused_in_a_sentence(tmp_path, lite):
    known = labels(tmp_path)
    with pytest.raises(AnnotationError, match="but it has"):
        list(annotate(FOLDER / "cat.jpg", known, FOLDER / "kitten.jpg", featurizer=lite))
    nothing = AnnotatedImage(path="cat.jpg")
    with pytest.raises(AnnotationError, match="Nothing is annotated"):
        list(annotate(FOLDER / "cat.jpg", nothing, FOLDER / "kitten.jpg", featurizer=lite))
    for box in ((-1e6, -1e6, 1e6, 1e6), (10, 10, 1e6, 30), (48, 5, 60, 20)):
        far = AnnotatedImage(path="source.png", size=SIZE, objects=[AnnotatedObject(category="leaf", box=box)])
        with pytest.raises(AnnotationError, match=r"'leaf' in source.png reaches from .* outside the image of 48×40"):
            list(annotate(tmp_path / "source.png", far, FOLDER / "kitten.jpg", featurizer=lite))
    assert main(["annotate", f"{tmp_path}/source.png", f"{tmp_path}/none.json", f"{tmp_path}/photos", "-o", "x"]) == 2


@pytest.mark.slow
def test_the_commands_of_the_landmarks_page_run(tmp_path, monkeypatch, capsys):
    root = Path(__file__).parents[1]
    monkeypatch.setattr(sys, "argv", ["landmarks_on_specimens.py", str(tmp_path), "3"])
    drawn = runpy.run_path(str(root / "examples" / "landmarks_on_specimens.py"), run_name="__main__")
    assert "3 of 3 leaves" in capsys.readouterr().out
    page = (root / "docs" / "landmarks.md").read_text(encoding="utf-8")
    command = next(line for line in page.splitlines() if line.startswith("dift-edit annotate"))
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0
    found = read_annotations(tmp_path / "out" / "annotations.json", images=tmp_path / "specimens")
    errors = []
    for image in found.images:
        (leaf,) = image.objects
        truth = drawn["leaf"](int(image.path[-7:-4]))[1]
        places = np.array([(keypoint.x, keypoint.y) for keypoint in leaf.keypoints])
        errors.append(np.linalg.norm(places - truth, axis=1) / np.ptp(truth, axis=0).max())
    assert len(errors) == 3 and np.nanmedian(errors) < 0.02


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"size": [4], "objects": []}', b'{"size": [4, 4], "objects": [{}]}'])
def test_damaged_annotations_of_a_target_are_a_sentence(data):
    with pytest.raises(AnnotationError, match=r"stored annotations of a\.jpg are damaged"):
        annotated_from_bytes(data, "a.jpg")
