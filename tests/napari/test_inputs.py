"""Layers of every kind as source and target."""

import dask.array
import numpy as np
import pytest

from napari_dift_edit import layers as glue
from napari_dift_edit.arrange import side_by_side


def _grey(cat):
    return cat.mean(2).astype(np.uint8)


def _odd(cat):
    """Pictures of the cat in all forms that napari shows."""
    rgba = np.dstack([cat, np.full(cat.shape[:2], 255, np.uint8)])
    pyramid = [cat, cat[::2, ::2], cat[::4, ::4]]
    return {
        "grey": (_grey(cat), {}),
        "rgba": (rgba, {}),
        "deep": (_grey(cat).astype(np.uint16) * 16, {"contrast_limits": (0, 4080)}),
        "float": (_grey(cat).astype(np.float32) / 10, {}),
        "lazy": (dask.array.from_array(cat, chunks=(100, 100, 3)), {"rgb": True}),
        "pyramid": (pyramid, {"multiscale": True, "rgb": True}),
        "moved": (cat, {"scale": (0.5, 0.5), "translate": (400, -300)}),
        "turned": (cat, {"rotate": 30, "translate": (800, 0)}),
    }


def test_read_pixels(make_napari_viewer, cat):
    viewer = make_napari_viewer()
    for name, (data, options) in _odd(cat).items():
        layer = viewer.add_image(data, name=name, **options)
        assert glue.is_picture(layer) and glue.picture_size(layer) == (360, 260), name
        pixels = glue.to_rgba(glue.read_pixels(layer))
        assert pixels.shape == (260, 360, 4) and pixels.dtype == np.uint8
        expected = cat if layer.rgb else np.repeat(_grey(cat)[..., None], 3, 2)
        if name != "float":
            assert np.abs(pixels[..., :3].astype(int) - expected).max() <= 1, name
        points = np.array([(0.0, 0.0), (359, 0), (17.5, 200)])
        assert np.allclose(glue.to_picture(layer, glue.to_world(layer, points)), points)


def test_patch_lies_on_its_pixels(make_napari_viewer, cat):
    viewer = make_napari_viewer()
    layer = viewer.add_image(cat, scale=(2, 0.5), translate=(10, 20), rotate=25, shear=[0.2])
    patch = viewer.add_image(cat[40:90, 70:200], affine=glue.patch_affine(layer, 70, 40))
    for row, column in ((0, 0), (49, 129), (13, 77)):
        assert np.allclose(patch.data_to_world((row, column)), layer.data_to_world((40 + row, 70 + column)))
    coarse = viewer.add_image(cat[::4, ::4], affine=glue.patch_affine(layer, 1.5, 1.5, (4, 4)))
    assert np.allclose(coarse.data_to_world((-0.5, -0.5)), layer.data_to_world((-0.5, -0.5)))
    corners = [(-0.5, -0.5), (359.5, -0.5), (359.5, 259.5), (-0.5, 259.5)]
    whole = viewer.add_image(cat[::2, ::2], affine=glue.quad_affine(layer, corners, (180, 130)))
    assert np.allclose(whole.data_to_world((-0.5, 179.5)), layer.data_to_world((-0.5, 359.5)))


def test_side_by_side_keeps_scale_and_separates(make_napari_viewer, cat):
    viewer = make_napari_viewer()
    made = [viewer.add_image(data, **options) for data, options in _odd(cat).values()]
    scales = [np.array(layer.scale) for layer in made]
    for layer, affine in zip(made, side_by_side(made), strict=True):
        layer.affine = affine
    assert all(np.array_equal(layer.scale, scale) for layer, scale in zip(made, scales, strict=True))
    boxes = [glue.world_box(layer) for layer in made]
    for index, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[index + 1 :]:
            assert (high <= other_low + 1e-6).any() or (other_high <= low + 1e-6).any()


@pytest.mark.slow
def test_propagate_to_all_kinds(open_bench, cat, sticker):
    bench = open_bench()
    bench.viewer.add_image(cat, name="source", scale=(3, 3), translate=(-50, 1000))
    for name, (data, options) in _odd(cat).items():
        bench.viewer.add_image(data, name=name, **options)
    bench.wait(lambda: len(bench.editor.session.targets) == 8, 5)
    bench.use(sticker)
    bench.propagate()
    for name in _odd(cat):
        result = bench.result(name)
        assert result.status == "applied", (name, result.reason)
        expected = np.array([(60, 60), (240, 60), (240, 130), (60, 130)])
        assert np.abs(np.array(result.quad) - expected).max() < 10, name
        shown, layer = bench.viewer.layers[f"{name} · edited"], bench.viewer.layers[name]
        middle = shown.world_to_data(layer.data_to_world((110, 150)))
        pixel = shown.data[tuple(np.round(middle).astype(int))]
        assert pixel[0] > 180 and pixel[1] < 80, name


def test_wrong_layers_are_not_offered(open_bench, cat):
    bench = open_bench({"cat": cat})
    bench.viewer.add_labels(np.zeros((10, 10), int))
    bench.viewer.add_points(np.zeros((3, 2)))
    bench.viewer.add_image(np.zeros((3, 4, 20, 20)), name="volume")
    bench.qtbot.wait(50)
    assert [layer.name for layer in bench.dock.picture_layers()] == ["cat"]
    assert bench.editor.session.targets == ()
