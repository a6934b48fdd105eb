from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from PIL import ImageCms, ImageOps

from dift_edit.errors import ImageError, OutputError
from dift_edit.imaging.files import as_image, load_image
from dift_edit.imaging.image import Image
from dift_edit.imaging.writing import save_image


def gradient(width: int = 40, height: int = 30) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 3 % 256], -1).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_pillow_does(tmp_path: Path, orientation: int) -> None:
    picture = PIL.Image.fromarray(gradient())
    exif = picture.getexif()
    exif[0x0112] = orientation
    exif[0x010E] = "a description"
    picture.save(tmp_path / "a.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(PIL.Image.open(tmp_path / "a.png")))
    image = load_image(tmp_path / "a.png")
    assert np.array_equal(image.pixels, expected)
    written = PIL.Image.open(save_image(image, tmp_path / "b.png"))
    assert written.getexif().get(0x0112, 1) == 1 and written.getexif()[0x010E] == "a description"
    assert np.array_equal(np.asarray(written), expected)


def test_sixteen_bit_colour_survives(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    for suffix in (".png", ".tiff"):
        cv2.imwrite(str(tmp_path / f"a{suffix}"), pixels[..., ::-1])
        image = load_image(tmp_path / f"a{suffix}")
        assert np.array_equal(image.pixels, pixels)
        assert np.array_equal(load_image(save_image(image, tmp_path / f"b{suffix}")).pixels, pixels)


def test_unedited_pixels_keep_their_wide_gamut_values(tmp_path: Path) -> None:
    # a profile that differs from sRGB: the same with the red and blue primaries exchanged
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = bytes(profile).index(b"rXYZ"), bytes(profile).index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    pixels = gradient()
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=bytes(profile))
    image = load_image(tmp_path / "a.png")
    assert not np.array_equal(image.pixels, pixels), "the profile must be applied"
    edited = image.pixels.copy()
    edited[5:10, 5:10] = 128
    written = PIL.Image.open(save_image(image.with_pixels(edited, None), tmp_path / "b.png"))
    assert written.info["icc_profile"] == bytes(profile)
    result = np.asarray(written)
    mask = np.zeros(result.shape[:2], bool)
    mask[5:10, 5:10] = True
    assert np.array_equal(result[~mask], pixels[~mask])
    assert np.abs(load_image(tmp_path / "b.png").pixels[mask].astype(int) - 128).max() <= 2


def test_modes_become_rgb(tmp_path: Path) -> None:
    base = PIL.Image.fromarray(gradient())
    modes = ["L", "1", "P", "CMYK", "RGBA", "LA"]
    if int(PIL.__version__.partition(".")[0]) >= 13:  # earlier ones do not read the YCbCr that they write
        modes.append("YCbCr")
    for mode in modes:
        path = tmp_path / f"{mode}.tiff" if mode in ("CMYK", "YCbCr") else tmp_path / f"{mode}.png"
        base.convert("L").convert(mode).save(path) if mode == "LA" else base.convert(mode).save(path)
        image = load_image(path)
        assert image.size == (40, 30) and image.pixels.dtype == np.uint8
    transparent = base.convert("RGBA")
    transparent.putalpha(77)
    transparent.save(tmp_path / "t.png")
    alpha = load_image(tmp_path / "t.png").alpha
    assert alpha is not None and (alpha == 77).all()


def test_bad_files_give_sentences(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("hello")
    PIL.Image.fromarray(gradient(200, 200)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    for name, words in [
        ("missing.jpg", "does not exist"), ("empty.jpg", "empty"), ("text.png", "not a picture"),
        ("cut.jpg", "damaged"), (".", "folder"),
    ]:  # fmt: skip
        with pytest.raises(ImageError, match=words) as caught:
            load_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(ImageError, match="limit"):
        load_image(tmp_path / "whole.jpg", max_pixels=1000)
    with pytest.raises(ImageError, match="no pixels"):
        as_image(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(OutputError, match="folder"):
        save_image(as_image(gradient()), tmp_path / "no" / "such.png")


def test_jpeg_is_written_with_its_own_tables(tmp_path: Path) -> None:
    PIL.Image.fromarray(gradient()).save(tmp_path / "a.jpg", quality=40, subsampling=2)
    save_image(load_image(tmp_path / "a.jpg"), tmp_path / "b.jpg")
    first, second = PIL.Image.open(tmp_path / "a.jpg"), PIL.Image.open(tmp_path / "b.jpg")
    assert first.quantization == second.quantization


def test_arrays_and_tensors_are_images() -> None:
    pixels = gradient()
    image = as_image(pixels)
    assert np.array_equal(as_image(image.to_tensor()).pixels, pixels.astype(np.float32) / 255)
    assert np.array_equal(as_image(image.to_pil()).pixels, pixels)
    assert as_image(pixels[..., 0]).pixels.shape == (30, 40, 3)
    assert image.digest == as_image(pixels.copy()).digest != image.mirrored().digest
    assert isinstance(image, Image) and np.asarray(image).shape == (30, 40, 3)
    with pytest.raises(ImageError, match=r"\[0, 1\]"):
        as_image(pixels.astype(float))


@pytest.mark.parametrize("size", [(1203, 901), (640, 2999), (300, 200)])
def test_halved_pictures_are_shared_and_lie_where_they_did(size: tuple[int, int]) -> None:
    """A smooth picture resampled by way of its halves is that resampled in one step, whatever was asked before."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    waves = 127 + 60 * np.sin(x / size[0] * 9) + 60 * np.cos(y / size[1] * 7)
    pixels = np.stack([waves, x * 255 / size[0], y * 255 / size[1]], -1).round().astype(np.uint8)
    image = Image(pixels)
    small, middle = ((max(8, round(size[0] / k)), max(8, round(size[1] / k))) for k in (40, 13))
    for wanted in (small, middle, small):
        one_step = image.resized(wanted, exact=True)
        assert (image.resized(wanted) - one_step).abs().max() < 2.5 / 255
        assert torch.equal(image.resized(wanted), Image(pixels).resized(wanted))


def test_halving_shows_white_behind_transparent_pixels() -> None:
    image = Image(np.zeros((800, 800, 3), np.uint8), np.zeros((800, 800), np.uint8))
    assert (image.resized((20, 20)) == 1).all()
