"""Saliency maps as .npy arrays and floating-point TIFF: conversion to 8 bits, and refusals."""

import cv2
import numpy as np
import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_saliency, write_map

LEVELS = np.random.default_rng(0).integers(0, 256, (12, 17), dtype=np.uint8)
UNIT = np.random.default_rng(1).uniform(size=(12, 17))


def saved(folder, array):
    np.save(folder / "map.npy", array)
    return folder / "map.npy"


EQUAL_TO_LEVELS = {
    "uint8": LEVELS,
    "Fortran order": np.asfortranarray(LEVELS),
    "uint16 x257": LEVELS.astype(np.uint16) * 257,
    "big-endian uint16": (LEVELS.astype(np.uint16) * 257).astype(">u2"),
    "int64": LEVELS.astype(np.int64),
    "float64 in [0, 1]": LEVELS / 255,
    "float32 in [0, 1]": (LEVELS / 255).astype(np.float32),
    "float16 in [0, 1]": (LEVELS / 255).astype(np.float16),
    "float whole numbers": LEVELS.astype(np.float32),
    "(H, W, 1)": LEVELS[..., None],
    "(1, H, W)": LEVELS[None] / 255,
    "(1, 1, H, W)": LEVELS[None, None] / 255,
    "(H, W, 3) of equal channels": np.repeat(LEVELS[..., None], 3, axis=2),
}


@pytest.mark.parametrize("kind", EQUAL_TO_LEVELS)
def test_read_saliency_of_an_array_gives_the_levels(tmp_path, kind):
    read = read_saliency(saved(tmp_path, EQUAL_TO_LEVELS[kind]))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, LEVELS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".npy", ".tif", ".tiff"])
def test_read_saliency_of_floats_equals_the_png_that_write_map_makes(tmp_path, dtype, suffix):
    unit = UNIT.astype(dtype)
    write_map(tmp_path / "map.png", unit)
    path = tmp_path / f"map{suffix}"
    if suffix == ".npy":
        np.save(path, unit)
    else:
        assert cv2.imwrite(str(path), unit)
    np.testing.assert_array_equal(read_saliency(path), read_saliency(tmp_path / "map.png"))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_read_saliency_of_a_constant_float_map_is_rounded(tmp_path, value):
    read = read_saliency(saved(tmp_path, np.full((3, 4), value)))
    assert (read == round(255 * value)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_read_saliency_of_rounding_errors_at_0_and_1_is_clipped(tmp_path, dtype, suffix):
    path = tmp_path / f"map{suffix}"
    values = np.array([[-1e-7, 0.5], [1 + 1.2e-7, 1 + 9e-7]], dtype)
    np.save(path, values) if suffix == ".npy" else cv2.imwrite(str(path), values)
    assert read_saliency(path).tolist() == [[0, 128], [255, 255]]


def test_read_saliency_of_bool_is_0_and_255(tmp_path):
    read = read_saliency(saved(tmp_path, UNIT > 0.5))
    np.testing.assert_array_equal(read, (UNIT > 0.5) * 255)


REFUSED = {
    "NaN": (np.where(UNIT > 0.9, np.nan, UNIT), "NaN or infinity"),
    "infinity": (np.where(UNIT > 0.9, np.inf, UNIT), "NaN or infinity"),
    "logits": (UNIT * 8 - 4, r"float64 saliency from -3\.\d+ to 3\.\d+"),
    "overshoot of resizing": (UNIT * 1.1, r"in \[0, 1\]"),
    "more than a rounding error above 1": (UNIT / UNIT.max() + 1e-5, r"in \[0, 1\]"),
    "more than a rounding error below 0": (UNIT - UNIT.min() - 1e-5, r"in \[0, 1\]"),
    "fractions up to 255": (UNIT * 255, "divide by 255"),
    "whole numbers above 255": (np.full((3, 4), 256.0), "256"),
    "negative whole numbers": (np.full((3, 4), -1), "int64 saliency from -1"),
    "integers above 255": (np.full((3, 4), 300), "300"),
    "colours": (np.random.default_rng(2).uniform(size=(5, 6, 3)), r"shape \(5, 6, 3\)"),
    "several maps": (np.zeros((2, 5, 6)), r"shape \(2, 5, 6\)"),
    "a batch": (np.zeros((2, 1, 5, 6)), r"shape \(2, 1, 5, 6\)"),
    "empty": (np.zeros((0, 4)), r"shape \(0, 4\)"),
    "one axis": (np.zeros(4), "saliency must be an"),
    "a number": (np.array(0.5), "saliency must be an"),
    "complex": (UNIT * 1j, "complex128"),
    "text": (UNIT.astype(str), "saliency map"),
    "structure": (np.zeros((3, 4), [("a", float)]), "saliency map"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_read_saliency_of_an_unusable_array_is_refused_in_one_line(tmp_path, kind):
    array, words = REFUSED[kind]
    with pytest.raises(InputError, match=words) as refused:
        read_saliency(saved(tmp_path, array))
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / 'map.npy'}: ")
    assert "Fix: " in message and "\n" not in message


class Trap:
    def __reduce__(self):
        return (open, ("opened", "w"))


def test_read_saliency_never_unpickles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("map.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"map\.npy"):
        read_saliency("map.npy")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("kept", [0, 5, 60, 200])
def test_read_saliency_of_a_truncated_array_is_refused(tmp_path, kept):
    path = saved(tmp_path, UNIT)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"map\.npy"):
        read_saliency(path)


def test_read_saliency_of_a_header_that_claims_terabytes_is_refused(tmp_path):
    path = saved(tmp_path, np.zeros((1000, 1000), bool))
    content = path.read_bytes().replace(b"(1000, 1000)", b"(9999999, 9999999)", 1)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"map\.npy"):
        read_saliency(path)
