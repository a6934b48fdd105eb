import json

import numpy as np
import pytest

from dift_edit.edits import (
    ColorAdjust,
    CubeLut,
    Erase,
    LabelLayer,
    Layers,
    Redaction,
    Region,
    Sticker,
    edit_from_dict,
    edit_from_difference,
    edit_to_dict,
    load_edit,
    save_edit,
)
from dift_edit.errors import EditError
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing
from test_labels import layer
from transforms import similarity


def target():
    y, x = np.mgrid[:60, :80]
    return as_image(np.dstack([x * 3, y * 4, 128 + 60 * np.sin(x / 3)]).astype(np.uint8))


def painted():
    after = target().pixels.copy()
    after[20:35, 30:50] = (250, 10, 30)
    return edit_from_difference(target(), after)


def soft():
    return Region.mask(np.pad(np.random.default_rng(0).random((20, 30)).astype(np.float32), 15))


def edits():
    rng = np.random.default_rng(1)
    sticker = np.dstack([rng.integers(0, 256, (12, 15, 3)), np.full((12, 15), 200)]).astype(np.uint8)
    deep = Image(rng.integers(0, 65536, (12, 15, 3), dtype=np.uint16), None)
    lut = CubeLut(rng.random((3, 3, 3, 3)).astype(np.float32))
    return {
        "sticker": Sticker(sticker, at=(20.5, 10, 30, 24)),
        "sixteen": Sticker(deep, quad=[(10, 10), (40, 12), (38, 35), (12, 30)]),
        "float": Sticker(as_image(rng.random((12, 15, 4)).astype(np.float32)), at=(5, 5, 30, 30)),
        "paint": painted(),
        "adjust": ColorAdjust(region=soft(), hue=40, lut=lut, matrix=np.eye(3, 4) * 0.9, recolor="red"),
        "redaction": Redaction(region=Region.ellipse(20, 10, 30, 30), mode="blur", cells=3),
        "erase": Erase(Region.box(20, 10, 12, 12)),
        "labels": LabelLayer(polygons=layer().polygons, keypoints=layer().keypoints, label_map=layer().label_map),
        "layers": Layers([Sticker(sticker, at=(20, 10, 30, 24)), Erase(soft())], [Compositing(opacity=0.5), None]),
    }


@pytest.mark.parametrize("name", list(edits()))
def test_an_edit_survives_as_plain_data(name, tmp_path):
    edit = edits()[name]
    transform = similarity(1.2, 10, -4, 3)
    expected = edit.apply(target(), transform).pixels
    assert not np.array_equal(expected, target().pixels)
    stored = json.loads(json.dumps(edit_to_dict(edit)))
    path = save_edit(edit, tmp_path / "edit.json")
    for loaded in (edit_from_dict(stored), load_edit(path)):
        assert type(loaded) is type(edit) and np.allclose(loaded.quad, edit.quad)
        assert np.array_equal(loaded.apply(target(), transform).pixels, expected)
    assert json.loads(path.read_text())["type"] == stored["type"]


def test_layers_are_put_on_in_order():
    red = Sticker(np.full((10, 10, 4), (255, 0, 0, 255), np.uint8), at=(20, 20, 20, 20))
    blue = Sticker(np.full((10, 10, 4), (0, 0, 255, 255), np.uint8), at=(30, 30, 20, 20))
    both = Layers([red, blue])
    result = both.apply(target(), similarity()).pixels
    assert tuple(result[25, 25]) == (255, 0, 0) and tuple(result[35, 35]) == (0, 0, 255)
    assert np.allclose(both.quad[[0, 2]], [(19.5, 19.5), (49.5, 49.5)])
    with pytest.raises(EditError, match="one edit"):
        Layers([])
    with pytest.raises(EditError, match="one for each"):
        Layers([red], [])


def test_broken_edits_are_named(tmp_path):
    path = save_edit(edits()["sticker"], tmp_path / "edit.json")
    good = json.loads(path.read_text())
    cases = [
        ("nope", "not a JSON"),
        (json.dumps({"a": 1}), "not a dift-edit edit"),
        (json.dumps({**good, "version": 9}), "version"),
        (json.dumps({**good, "type": "x"}), "type 'x'"),
        (json.dumps({**good, "quad": [[0, 0]]}), "corners"),
        (json.dumps({**good, "image": {**good["image"], "file": "../../etc/passwd"}}), "outside"),
        (json.dumps({**good, "image": {**good["image"], "file": "no.png"}}), "put it back"),
        (json.dumps({k: v for k, v in good.items() if k != "image"}), "incomplete"),
        (json.dumps({**good, "image": {"array": "png", "data": "!!"}}), "damaged"),
        (json.dumps({**good, "image": {"array": "png", "data": "AAAA"}}), "damaged"),
    ]
    for number, (text, words) in enumerate(cases):
        bad = tmp_path / f"bad{number}.json"
        bad.write_text(text)
        with pytest.raises(EditError, match=words) as caught:
            load_edit(bad)
        assert str(bad) in str(caught.value)
    with pytest.raises(EditError, match="does not exist"):
        load_edit(tmp_path / "missing.json")
    file = tmp_path / good["image"]["file"]
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(EditError, match="was changed"):
        load_edit(path)
