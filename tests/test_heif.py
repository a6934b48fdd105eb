"""HEIC in and out: turns, profiles, EXIF, ten bits, damaged files, and what a redaction leaves of it."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from batch_data import picture
from color_profiles import wide_profile
from dift_edit.edits import Redaction, Region
from dift_edit.errors import ImageError, MissingDependencyError
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image
from dift_edit.imaging.writing import save_image
from dift_edit.results.names import safe_name
from dift_edit.targets.collect import collect_targets
from transforms import similarity

pillow_heif = pytest.importorskip("pillow_heif")

SIZE = (96, 64)
SECRET = b"SECRET-4711"


def pixels():
    return np.asarray(picture(3, SIZE))


def exif(**tags):
    found = PIL.Image.Exif()
    found[0x010F], found[0x0132] = "Maker", "2024:05:06 07:08:09"
    for tag, value in tags.items():
        found[int(tag[1:], 16)] = value
    return found.tobytes()


def written(path, values=None, **metadata):
    values = pixels() if values is None else values
    mode = "RGB;16" if values.dtype == np.uint16 else "RGB"
    buffer = io.BytesIO()
    pillow_heif.encode(mode, SIZE, values.tobytes(), buffer, quality=95, chroma=444, **metadata)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize("suffix", [".heic", ".heif", ".hif"])
def test_a_photograph_comes_back_as_it_was(tmp_path, suffix):
    image = load_image(written(tmp_path / f"in{suffix}", exif=exif()))
    assert image.size == SIZE and np.abs(image.pixels.astype(int) - pixels()).max() < 12
    again = save_image(image, tmp_path / f"out{suffix}")
    assert again.suffix == suffix and again.read_bytes()[4:12] in (b"ftypheic", b"ftypheix")
    result = load_image(again)
    assert np.abs(result.pixels.astype(int) - image.pixels).max() < 12
    assert PIL.Image.Exif().load(result.file.metadata["exif"]) is None
    assert b"Maker" in result.file.metadata["exif"]


def test_the_turn_is_applied_once(tmp_path):
    upright = written(tmp_path / "a.heic")
    turned = written(tmp_path / "b.heic", exif=exif(t0112=6))
    image = load_image(turned)
    assert image.size == SIZE[::-1]
    assert np.array_equal(image.pixels, np.rot90(load_image(upright).pixels, -1))
    again = load_image(save_image(image, tmp_path / "c.heic"))
    assert again.size == image.size and np.abs(again.pixels.astype(int) - image.pixels).mean() < 3


def test_a_wide_profile_is_kept(tmp_path):
    profile = wide_profile("p3")
    image = load_image(written(tmp_path / "a.heic", icc_profile=profile))
    plain = load_image(written(tmp_path / "b.heic"))
    assert np.abs(image.pixels.astype(int) - plain.pixels).max() > 5, "converted to sRGB"
    again = save_image(image, tmp_path / "c.heic")
    with again.open("rb") as file:
        stored = pillow_heif.HeifImageFile(file)
        assert stored.info["icc_profile"] == profile
        assert np.abs(np.asarray(stored).astype(int) - plain.pixels).max() < 12, "not edited: as it was stored"


def test_ten_bits_are_kept(tmp_path):
    ramp = np.linspace(20000, 30000, SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0])
    values = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint16)
    image = load_image(written(tmp_path / "a.heic", values))
    assert image.pixels.dtype == np.uint16 and len(np.unique(image.pixels)) > 100
    again = load_image(save_image(image, tmp_path / "b.heic"))
    assert again.pixels.dtype == np.uint16
    assert np.abs(again.pixels.astype(int) - values).mean() < 200


def test_alpha_is_kept(tmp_path):
    alpha = np.linspace(0, 255, SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0]).astype(np.uint8)
    image = load_image(save_image(Image(pixels(), alpha), tmp_path / "a.heic"))
    assert image.alpha is not None and np.abs(image.alpha.astype(int) - alpha).max() < 12


def test_ten_bits_of_avif_are_said_to_be_lost(tmp_path, caplog):
    import cv2

    path = tmp_path / "deep.avif"
    if not cv2.haveImageWriter(str(path)):
        pytest.skip("this OpenCV writes no AVIF")
    assert cv2.imwrite(str(path), np.full((32, 32, 3), 600, np.uint16), [cv2.IMWRITE_AVIF_DEPTH, 10])
    assert load_image(path).pixels.dtype == np.uint8
    assert "deep.avif has more than 8 bits per channel, of which 8 are kept" in caplog.text
    caplog.clear()
    load_image(save_image(Image(pixels()), tmp_path / "plain.avif"))
    assert not caplog.text


@pytest.mark.parametrize("chroma", [420, 444])
def test_the_subsampling_of_the_colours_is_kept(tmp_path, chroma):
    buffer = io.BytesIO()
    pillow_heif.encode("RGB", SIZE, pixels().tobytes(), buffer, quality=95, chroma=chroma)
    (tmp_path / "a.heic").write_bytes(buffer.getvalue())
    again = save_image(load_image(tmp_path / "a.heic"), tmp_path / "b.heic")
    assert pillow_heif.open_heif(again).info["chroma"] == chroma


@pytest.mark.parametrize("share", [0.03, 0.2, 0.5, 0.9])
def test_a_truncated_file_gives_a_sentence(tmp_path, share):
    whole = written(tmp_path / "a.heic", exif=exif()).read_bytes()
    path = tmp_path / "cut.heic"
    path.write_bytes(whole[: max(13, int(share * len(whole)))])
    with pytest.raises(ImageError, match=r"cut.heic is damaged or incomplete \(.+\): replace the file\."):
        load_image(path)


def test_a_large_file_is_refused_before_it_is_decoded(tmp_path):
    with pytest.raises(ImageError, match="96×64 pixels, more than the limit of 100"):
        load_image(written(tmp_path / "a.heic"), max_pixels=100)


def test_a_redaction_leaves_nothing_of_the_metadata(tmp_path):
    """By bytes: caption, comment, XMP, a profile's own tags, and the hidden pixels themselves."""
    profile = wide_profile("p3", text=SECRET.decode(), extra={b"priv": SECRET})
    results = []
    for number in range(2):
        values = pixels().copy()
        path = written(
            tmp_path / f"{number}.heic", values, exif=exif(t010e=SECRET.decode()), xmp=b"<x>" + SECRET + b"</x>",
            icc_profile=profile,
        )  # fmt: skip
        assert SECRET in path.read_bytes()
        image = load_image(path)
        if number:  # another content in the hidden part
            changed = image.pixels.copy()
            changed[20:40, 30:60] = 255 - changed[20:40, 30:60]
            image = replace(image, pixels=changed)
        edit = Redaction(region=Region.box(26, 16, 40, 28), mode="fill")
        for suffix in (".heic", ".avif", ".png"):
            results.append(save_image(edit.apply(image, similarity()), tmp_path / f"r{number}{suffix}"))
    for path in results:
        assert SECRET not in path.read_bytes() and b"Maker" not in path.read_bytes()
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(results[:3], results[3:], strict=True))
    assert b"2024:05:06" in results[0].read_bytes(), "dates are kept"


def test_heic_files_are_targets_and_keep_their_names(tmp_path):
    written(tmp_path / "IMG_1.HEIC")
    (tmp_path / "unnamed").write_bytes((tmp_path / "IMG_1.HEIC").read_bytes())
    assert [target.name for target in collect_targets(tmp_path)] == ["IMG_1.HEIC", "unnamed"]
    assert safe_name("IMG_1.HEIC") == "IMG_1.HEIC"


def test_without_the_extra_one_sentence_names_it(tmp_path):
    path = written(tmp_path / "a.heic")
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from dift_edit.imaging.files import load_image\n"
        "try: load_image(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert said.startswith(MissingDependencyError.__name__)
    assert "a.heic needs the package 'pillow-heif'" in said and "pip install 'dift-edit[heif]'" in said
