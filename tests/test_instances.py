"""Several instances of the object in one target: found, decided on one by one, and counted by a redaction."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from dift_edit.cli import main
from dift_edit.edits import Redaction, Region, Sticker, load_edit, save_edit
from dift_edit.errors import EditError, SettingsError
from dift_edit.features.base import Featurizer, ModelInfo
from dift_edit.geometry.quad import box_quad, quad_iou
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image
from dift_edit.pipeline import transfer
from dift_edit.placement.instances import find_instances, locate_instances, quads_overlap
from dift_edit.placement.placement import locate
from dift_edit.report.decisions import read_decisions
from dift_edit.results.manifest import Row
from dift_edit.settings import TransferSettings
from instance_scenes import draw_scene, draw_source


def redaction(quad) -> Redaction:
    low, high = quad.min(0), quad.max(0)
    return Redaction(region=Region.box(*low, *(high - low)), mode="fill", color="#00ff00")


@pytest.fixture(scope="module")
def guitar():
    return draw_source("guitar")


@pytest.fixture(scope="module")
def three():
    """A picture with a large guitar and two small ones of other colours."""
    return draw_scene("guitar", 3, seed=1)


@pytest.fixture(scope="module")
def found(guitar, three, lite):
    return locate_instances(guitar.image, guitar.quads[0], three.image, featurizer=lite)


@pytest.mark.slow
def test_large_and_small_instances_are_found(three, found):
    assert len(found) == 3
    for quad in three.quads:
        assert max(quad_iou(placement.quad, quad) for placement in found) > 0.5
    assert max(three.sizes) > 1.7 * min(three.sizes)


def test_instances_do_not_overlap_and_say_how_many_they_are(found):
    for number, placement in enumerate(found):
        assert placement.instances == len(found) and placement.confidence >= 0.3
        assert all(quads_overlap(placement.quad, other.quad) <= 0.1 for other in found[:number])


def test_a_second_instance_does_not_lower_the_confidence(guitar, lite):
    one, two = (draw_scene("guitar", count, seed=4, same=True) for count in (1, 2))
    alone, among = (
        locate(guitar.image, guitar.quads[0], scene.image, featurizer=lite, surface=False) for scene in (one, two)
    )
    assert among.confidence > alone.confidence - 0.15


class Counting(Featurizer):
    """Two featurizers as one, the second for screening, that count how often they are asked."""

    fingerprint, model = "counting", ModelInfo(id="counting")

    def __init__(self, featurizer, counts, name="all"):
        self.featurizer, self.counts, self.name = featurizer, counts, name

    @property
    def screening(self):
        return self if self.name == "screening" else Counting(self.featurizer, self.counts, "screening")

    def __call__(self, image, *, seed=0):
        self.counts[self.name] += 1
        return self.featurizer(image, seed=seed)


def test_where_nothing_else_is_likely_only_the_screening_looks_at_more_than_one_placement_does(guitar, lite):
    """The first place is what `locate` finds; the four parts of the target are seen by the quicker featurizer alone."""
    counts, rng = Counter(), np.random.default_rng(0)
    target = Image(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8))
    quad, options = guitar.quads[0], {"engine": "auto", "mirror": "never", "seed": 0, "pins": None, "surface": True}
    found = find_instances(
        guitar.image, quad, target, featurizer=Counting(lite, counts), count=50, min_confidence=0.5,
        source_mask=None, target_mask=None, first_confidence=0.0, **options,
    )  # fmt: skip
    alone = locate(guitar.image, quad, target, featurizer=Counting(lite, once := Counter()), **options)
    assert len(found) == 1 and np.array_equal(found[0].quad, alone.quad) and found[0].confidence == alone.confidence
    assert counts["all"] == once["all"] and 5 <= counts["screening"] <= 7  # its source, the parts, and a look


def test_a_first_place_that_is_not_sure_ends_the_search(guitar, lite):
    counts = Counter()
    empty = Image(np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8))
    edit = redaction(guitar.quads[0])
    result = transfer(guitar.image, edit, empty, featurizer=Counting(lite, counts), min_confidence=0.9)
    assert result.status == "abstained" and not counts["screening"]


@pytest.mark.slow
def test_where_there_is_none_none_is_found(guitar, lite):
    empty = draw_scene("guitar", 0, seed=2)
    assert locate_instances(guitar.image, guitar.quads[0], empty.image, featurizer=lite) == []


@pytest.mark.slow
def test_the_number_and_a_mask_limit_what_is_found(guitar, three, found, lite):
    quad = guitar.quads[0]
    first = locate_instances(guitar.image, quad, three.image, featurizer=lite, count=1)
    assert len(first) == 1 and np.allclose(first[0].quad, found[0].quad)
    mask = np.zeros((three.image.size[1], three.image.size[0]), bool)
    mask[:, : three.image.size[0] // 2] = True
    left = locate_instances(guitar.image, quad, three.image, featurizer=lite, target_mask=mask)
    assert left and all(placement.quad.mean(0)[0] < three.image.size[0] / 2 for placement in left)
    with pytest.raises(EditError, match="number of instances is 0"):
        locate_instances(guitar.image, quad, three.image, featurizer=lite, count=0)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [((0, 0, 4, 4), (2, 0, 6, 4), 0.5), ((0, 0, 4, 4), (1, 1, 2, 2), 1.0), ((0, 0, 4, 4), (4, 0, 6, 4), 0.0)],
)
def test_overlap_is_measured_by_the_smaller_quad(first, second, shared):
    assert quads_overlap(box_quad(first), box_quad(second)) == pytest.approx(shared, abs=1e-6)
    assert quads_overlap(box_quad(second), box_quad(first)) == pytest.approx(shared, abs=1e-6)


@pytest.mark.slow
def test_an_edit_is_put_on_as_many_as_asked(guitar, three, lite):
    done = transfer(guitar.image, redaction(guitar.quads[0]), three.image, featurizer=lite, instances=2)
    hidden = [tuple(done.image.pixels[int(y), int(x)]) == (0, 255, 0) for x, y in (q.mean(0) for q in three.quads)]
    assert done.status == "applied" and sum(hidden) == 2 == len(done.placements)
    assert len(done.missed) == 1
    assert done.warning == "only 2 of 3 instances of the object are hidden: use  --instances all"


def test_a_sticker_does_not_warn(guitar, three, lite):
    sticker = Sticker(np.full((20, 20, 3), 200, np.uint8), quad=guitar.quads[0])
    done = transfer(guitar.image, sticker, three.image, featurizer=lite)
    assert done.status == "applied" and not done.warning and len(done.placements) == 1


@pytest.mark.parametrize("wrong", [0, -1, "some", True])
def test_a_wrong_number_is_refused(wrong):
    with pytest.raises(SettingsError, match="1 or more or all"):
        TransferSettings(instances=wrong)


@pytest.fixture(scope="module")
def job(tmp_path_factory, guitar, three):
    """A folder with the source, a redaction and a target with three guitars."""
    folder = tmp_path_factory.mktemp("job")
    guitar.image.save(folder / "source.png")
    save_edit(redaction(guitar.quads[0]), folder / "hide.json")
    (folder / "photos").mkdir()
    three.image.save(folder / "photos" / "three.png")
    return folder


def propagate(job, output, *flags):
    source, edit, photos = (str(job / name) for name in ("source.png", "hide.json", "photos"))
    return main(
        ["propagate", source, photos, "--edit", edit, "-o", str(job / output), "--model", "lite", "--quiet", *flags]
    )


def rows(folder):
    return {row.id: row for row in (Row.from_dict(json.loads(line)) for line in (folder / "manifest.jsonl").open())}


@pytest.mark.slow
def test_a_redaction_that_misses_an_instance_says_so(job, capsys):
    assert propagate(job, "missed") == 1
    said = capsys.readouterr().err
    assert "1 of 1 targets are redacted only IN PART" in said, said
    assert "three.png (only 1 of 3 instances" in said
    row = rows(job / "missed")["../photos/three.png"]
    assert row.status == "applied" and "1 of 3" in row.warning
    assert [placed["status"] for placed in row.placements] == ["applied", "abstained", "abstained"]


@pytest.fixture(scope="module")
def hidden(job):
    assert propagate(job, "hidden", "--instances", "all") == 0
    return job / "hidden"


@pytest.mark.slow
def test_a_redaction_of_all_instances_is_done(hidden, three):
    row = rows(hidden)["../photos/three.png"]
    assert row.instances == 3 and not row.warning
    assert [placed["status"] for placed in row.placements] == ["applied"] * 3
    pixels = load_image(hidden / "three.png").pixels
    assert all(tuple(pixels[int(y), int(x)]) == (0, 255, 0) for x, y in (quad.mean(0) for quad in three.quads))


def test_the_recipe_of_a_run_keeps_the_number(hidden):
    assert 'instances = "all"' in (hidden / "job.toml").read_text()


def decided(folder, *instances, **more):
    row = rows(folder)["../photos/three.png"]
    data = {"format": "dift-edit review", "version": 1, "job": row.job}
    data["decisions"] = [{"id": row.id, "decision": "accepted", "note": "", "pins": [], "instances": instances, **more}]
    path = folder / "decisions.json"
    path.write_text(json.dumps(data))
    return str(path)


def test_instances_are_decided_on_one_by_one(hidden, three, capsys):
    before = rows(hidden)["../photos/three.png"]
    assert main(["apply-review", str(hidden), decided(hidden, "", "rejected", "accepted")]) == 0
    row = rows(hidden)["../photos/three.png"]
    assert [placed["status"] for placed in row.placements] == ["applied", "rejected", "applied"]
    assert row.review == "accepted" and not row.warning and row.instances_reviewed and row.applied_places == 2
    assert replace(row, review="").decided  # learning leaves it alone, too, where the row itself was not decided on
    pixels = load_image(hidden / "three.png").pixels
    for placed, shown in zip(before.placements, (False, True, False), strict=True):
        x, y = np.mean(placed["quad"], axis=0).astype(int)
        assert (tuple(pixels[y, x]) == (0, 255, 0)) == (not shown)
        assert not shown or np.array_equal(pixels[y, x], three.image.pixels[y, x])
    assert main(["apply-review", str(hidden), decided(hidden, "", "accepted", "")]) == 0
    assert load_image(hidden / "three.png").pixels[y, x].tolist() == [0, 255, 0]


def test_wrong_decisions_on_instances_are_named(hidden, capsys):
    assert main(["apply-review", str(hidden), decided(hidden, "rejected")]) == 1
    assert "has 3 instances, but 1 were decided on" in capsys.readouterr().err
    assert main(["apply-review", str(hidden), decided(hidden, *["rejected"] * 3)]) == 1
    assert "every instance" in capsys.readouterr().err
    assert main(["apply-review", str(hidden), decided(hidden, "maybe", "", "")]) == 2
    assert "not one that the page makes" in capsys.readouterr().err
    assert len(read_decisions(decided(hidden), rows(hidden)["../photos/three.png"].job)) == 1


def test_a_moved_first_instance_leaves_the_others(job, hidden):
    quad = load_edit(job / "hide.json").quad
    moved = np.array([[20.0, 20], [80, 20], [80, 100], [20, 100]])
    pins = [[list(a), list(b)] for a, b in zip(quad.tolist(), moved.tolist(), strict=True)]
    assert main(["apply-review", str(hidden), decided(hidden, pins=pins)]) == 0
    row = rows(hidden)["../photos/three.png"]
    assert np.allclose(row.placements[0]["quad"], moved, atol=1e-3) and row.instances == 3
    pixels = load_image(hidden / "three.png").pixels
    for placed in row.placements:
        x, y = np.mean(placed["quad"], axis=0).astype(int)
        assert pixels[y, x].tolist() == [0, 255, 0]


def test_rows_with_wrong_placements_are_damaged(found, guitar):
    row = Row(id="a", target="a", status="applied").with_placements(found, [], guitar.quads[0])
    assert Row.from_dict(row.to_dict()) == row
    for wrong in ({"status": "new"}, {"quad": [[1, 2]]}, {"extra": 1}):
        values = row.to_dict()
        values["placements"][0] |= wrong
        with pytest.raises(ValueError, match="placements"):
            Row.from_dict(values)


def test_two_of_the_very_same_surface_are_both_exact(lite):
    rng = np.random.default_rng(0)
    small = Pillow.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).resize((400, 300))
    source = Image(np.asarray(small))
    quad = box_quad((120, 80, 300, 220))
    ground = np.full((700, 900, 3), 90, np.uint8)
    ground[40:340, 30:430], ground[360:660, 470:870] = source.pixels, source.pixels
    placements = locate_instances(source, quad, Image(ground), featurizer=lite)
    assert len(placements) == 2 and all(placement.on_surface for placement in placements)
    for shift in ((30, 40), (470, 360)):
        assert min(np.abs(placement.quad - quad - shift).max() for placement in placements) < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 3), (70, 65)])
def test_targets_of_any_size_are_searched(noise_source, tiny, size):
    target = Image(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
    found = locate_instances(*noise_source, target, featurizer=tiny, min_confidence=0.0)
    assert all(quads_overlap(a.quad, b.quad) <= 0.1 for k, a in enumerate(found) for b in found[:k])


@pytest.fixture(scope="module")
def noise_source():
    return Image(np.random.default_rng(1).integers(0, 255, (40, 48, 3), dtype=np.uint8)), box_quad((10, 8, 30, 24))
