"""Maps and ground truths from files: understood when clear, refused by name when not."""

import cv2
import numpy as np
import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_saliency
from mutualformer_sod.imaging.masks import read_mask

MASK = np.zeros((40, 60), bool)
MASK[10:30, 15:40] = True


def painted(background, foreground, dtype=np.uint8) -> np.ndarray:
    """The mask in two grey values or two colours."""
    choice = MASK if np.ndim(background) == 0 else MASK[..., None]
    return np.where(choice, foreground, background).astype(dtype)


def write(path, image, *options) -> str:
    assert cv2.imwrite(str(path), image, list(options))
    return path


CLEAR = {
    "0/255": painted(0, 255),
    "0/1": painted(0, 1),
    "0/2": painted(0, 2),
    "0/128": painted(0, 128),
    "0/153": painted(0, 153),
    "16-bit": painted(0, 65535, np.uint16),
    "16-bit 0/255": painted(0, 255, np.uint16),
    "grey as RGB": painted((0, 0, 0), (255, 255, 255)),
    "red on black": painted((0, 0, 0), (0, 0, 200)),
    "opaque alpha": painted((0, 0, 0, 255), (255, 255, 255, 255)),
    "mask in alpha": painted((9, 9, 9, 0), (9, 9, 9, 255)),
    "soft edge": cv2.GaussianBlur(painted(0, 255), (3, 3), 0),
}


@pytest.mark.parametrize("kind", CLEAR)
def test_clear_ground_truths_are_understood(tmp_path, kind):
    mask, _ = read_mask(write(tmp_path / "gt.png", CLEAR[kind]))
    np.testing.assert_array_equal(mask, MASK)


def test_jpeg_noise_is_understood(tmp_path):
    path = write(tmp_path / "gt.jpg", painted(0, 255), cv2.IMWRITE_JPEG_QUALITY, 60)
    np.testing.assert_array_equal(read_mask(path)[0], MASK)


def test_one_bit_png_is_understood(tmp_path):
    path = write(tmp_path / "gt.png", painted(0, 255), cv2.IMWRITE_PNG_BILEVEL, 1)
    np.testing.assert_array_equal(read_mask(path)[0], MASK)


def test_unusual_coding_is_noted_and_the_usual_one_is_not(tmp_path):
    assert read_mask(write(tmp_path / "a.png", CLEAR["0/255"]))[1] == ""
    assert "0 and 1" in read_mask(write(tmp_path / "b.png", CLEAR["0/1"]))[1]


@pytest.mark.parametrize(("value", "full"), [(0, False), (255, True)])
def test_empty_and_full_ground_truths_are_legitimate(tmp_path, value, full):
    path = write(tmp_path / "gt.png", np.full((8, 9), value, np.uint8))
    mask, note = read_mask(path)
    assert (mask.all() if full else not mask.any()) and not note


gradient = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
three = painted(0, 2)
three[:5] = 1
UNCLEAR = {
    "photograph": gradient,
    "labels 0, 1, 2": three,
    "1 everywhere": np.ones((40, 60), np.uint8),
    "colours": cv2.applyColorMap(gradient, cv2.COLORMAP_JET),
    "two greys": painted(90, 255),
    "objects in colours": np.where(
        gradient[..., None] > 128, (0, 0, 200), painted((0, 0, 0), (90, 90, 90))
    ).astype(np.uint8),
    "another mask in alpha": np.dstack([painted((0, 0, 0), (255, 255, 255)), gradient]),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_unclear_ground_truths_are_named_with_a_remedy(tmp_path, kind):
    path = write(tmp_path / "gt.png", UNCLEAR[kind])
    with pytest.raises(InputError, match=r"gt\.png.*255") as caught:
        read_mask(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_truncated_files_are_refused(tmp_path, suffix, kept):
    path = write(tmp_path / f"map{suffix}", gradient)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match="map"):
        read_saliency(path)


def test_flipped_byte_in_a_png_is_noticed(tmp_path):
    path = write(tmp_path / "map.png", gradient)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_saliency(path)


def test_text_and_missing_files_are_refused(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    for name in ("text.png", "absent.png"):
        with pytest.raises(InputError, match=name):
            read_saliency(tmp_path / name)


def test_maps_of_three_equal_channels_and_16_bit_are_read(tmp_path):
    colour = write(tmp_path / "a.png", cv2.merge([gradient] * 3))
    deep = write(tmp_path / "b.png", gradient.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_saliency(colour), gradient)
    np.testing.assert_array_equal(read_saliency(deep), gradient)


def test_colour_maps_are_refused(tmp_path):
    path = write(tmp_path / "map.png", cv2.applyColorMap(gradient, cv2.COLORMAP_JET))
    with pytest.raises(InputError, match="colour"):
        read_saliency(path)


def test_almost_grey_maps_are_read_as_by_cv2(tmp_path):
    noise = np.random.default_rng(0).integers(-6, 7, (*gradient.shape, 3))
    tinted = np.clip(gradient[..., None].astype(int) + noise, 0, 255).astype(np.uint8)
    path = write(tmp_path / "map.png", tinted)
    np.testing.assert_array_equal(read_saliency(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
