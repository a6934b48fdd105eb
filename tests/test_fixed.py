"""The engine that looks at nothing: the same place in every image, in pixels, in shares, or at a corner or edge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dift_edit as de
from batch_data import picture, rows_of
from dift_edit.cli import main
from dift_edit.errors import EditError, ModelError, SettingsError
from dift_edit.geometry.quad import box_quad
from dift_edit.placement import fixed_placement
from dift_edit.settings import ANCHORS, TransferSettings

SOURCE = (200, 100)
QUAD = box_quad((150, 10, 190, 30))  # 10 pixels from the right edge and from the top


def placed(target, **settings):
    return fixed_placement(QUAD, SOURCE, target, TransferSettings(engine="fixed", **settings)).quad


def box(left, top, right, bottom):
    return pytest.approx(box_quad((left, top, right, bottom)))


def test_in_pixels_it_stays_where_it_is():
    assert placed((400, 400)) == box(150, 10, 190, 30)


def test_relative_to_width_and_height():
    assert placed((400, 50), anchor="relative") == box(300, 5, 380, 15)


@pytest.mark.parametrize(
    ("anchor", "size", "margin", "expected"),
    [
        ("top-right", "pixels", -1, (350, 10, 390, 30)),
        ("top-right", "pixels", 0, (360, 0, 400, 20)),
        ("bottom-right", "pixels", 7, (353, 373, 393, 393)),
        ("bottom-left", "relative", 5, (20, 300, 180, 380)),
        ("right", "pixels", -1, (350, 160, 390, 180)),
        ("bottom", "pixels", 0, (250, 380, 290, 400)),
        ("center", "relative", -1, (400, 40, 560, 120)),
    ],
)
def test_at_a_corner_or_edge(anchor, size, margin, expected):
    assert placed((400, 400), anchor=anchor, anchor_size=size, anchor_margin=margin) == box(*expected)


@given(
    anchor=st.sampled_from(ANCHORS), size=st.sampled_from(["pixels", "relative"]),
    target=st.tuples(st.integers(1, 3000), st.integers(1, 3000)), margin=st.one_of(st.just(-1), st.integers(0, 50)),
)  # fmt: skip
def test_a_target_of_the_sources_size_keeps_the_place_and_margins_hold(anchor, size, target, margin):
    assert placed(SOURCE, anchor=anchor, anchor_size=size) == pytest.approx(QUAD)
    if anchor in ("pixels", "relative") or margin < 0:
        return
    quad = placed(target, anchor=anchor, anchor_size=size, anchor_margin=margin)
    scale = 1 if size == "pixels" else min(target) / min(SOURCE)
    low, high = quad.min(axis=0) + 0.5, np.array(target) - 0.5 - quad.max(axis=0)
    ends = {"left": low[0], "right": high[0], "top": low[1], "bottom": high[1]}
    for word in anchor.replace("center", "").split("-"):
        if word:
            assert ends[word] == pytest.approx(scale * margin, abs=1e-6)
    assert np.ptp(quad, axis=0) == pytest.approx(scale * np.ptp(QUAD, axis=0))


def test_a_place_outside_is_left_alone():
    found = fixed_placement(QUAD, SOURCE, (100, 100))
    assert found.reason == "the place lies outside the image" and found.confidence == 1


def test_without_a_featurizer_only_a_fixed_engine_works():
    source = de.as_image(picture(1))
    sticker = de.Sticker(de.as_image(picture(2, (8, 8))), at=(4, 4, 8, 8))
    done = de.transfer(source, sticker, picture(3), engine="fixed")
    assert done.status == "applied" and done.placement.confidence_source == "fixed" and done.model.id == "none"
    assert np.array_equal(done.image.pixels[4:12, 4:12], sticker.image.pixels)
    assert [each.status for each in de.propagate(source, sticker, [picture(3)], engine="fixed")] == ["applied"]
    failed = de.transfer(source, sticker, picture(3))
    assert failed.status == "failed" and "engine 'fixed'" in failed.reason
    with pytest.raises(EditError, match="use transfer or fixed_placement"):
        de.locate(source, sticker.quad, source, featurizer=_Flat(), engine="fixed")
    with pytest.raises(SettingsError, match="anchor is 'middle'"):
        TransferSettings(anchor="middle")


class _Flat(de.Featurizer):
    fingerprint = "flat"

    def __call__(self, image, *, seed=0):
        import torch

        from dift_edit.features.base import FeatureMap

        return FeatureMap(torch.ones(3, 4, 4), image.size, self.fingerprint, image.digest)


def test_the_command_needs_no_model(tmp_path, monkeypatch):
    def refuse(*_args, **_more):
        raise ModelError("a network was asked for")

    monkeypatch.setattr("dift_edit.batch.model.load_featurizer", refuse)
    picture(1).save(tmp_path / "source.png")
    picture(2, (8, 6)).save(tmp_path / "logo.png")
    (tmp_path / "photos").mkdir()
    picture(3, (96, 80)).save(tmp_path / "photos" / "large.png")
    picture(4, (20, 90)).save(tmp_path / "photos" / "tall.png")
    command = [
        "propagate", f"{tmp_path}/source.png", f"{tmp_path}/photos", "--sticker", f"{tmp_path}/logo.png", "--at",
        "38,2,8,6", "--engine", "fixed", "--anchor", "top-right", "--anchor-size", "pixels", "--anchor-margin", "3",
        "-o", f"{tmp_path}/out", "--no-report", "--quiet",
    ]  # fmt: skip
    assert main(command) == 0
    logo = np.asarray(picture(2, (8, 6)))
    for name, width in (("large.png", 96), ("tall.png", 20)):
        result = de.load_image(tmp_path / "out" / name).pixels
        assert np.array_equal(result[3:9, width - 11 : width - 3], logo)
    rows = rows_of(tmp_path / "out")
    assert {row["engine"] for row in rows} == {"fixed"} and {row["confidence"] for row in rows} == {1.0}
    assert main(["run", f"{tmp_path}/out/job.toml", "--quiet"]) == 0
    with pytest.raises(ModelError, match="a network was asked for"):
        de.run_job(de.load_job(_without_engine(tmp_path)))


def _without_engine(folder):
    text = (folder / "out" / "job.toml").read_text().replace('engine = "fixed"\n', "")
    assert "anchor" in text
    (folder / "out" / "other.toml").write_text(text.replace('output = "."', 'output = "other"'))
    return folder / "out" / "other.toml"
