"""PNG files written in strips, with a record inside."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mutualformer_sod.imaging.png import read_note, write_png


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (33, 20)])
def test_write_png_is_read_by_other_libraries(tmp_path, size, channels):
    image = np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)
    image = image[..., 0] if channels == 1 else image
    write_png(tmp_path / "a.png", size, [image[:5], image[5:]][: 1 + (size[0] > 5)])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)
    read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read[..., [2, 1, 0, 3][:channels]] if channels > 1 else read, image)


def test_read_note_returns_the_note_of_write_png(tmp_path):
    note = {"weights": "abc", "size": 3, "name": "ü\n"}
    write_png(tmp_path / "a.png", (2, 2), [np.zeros((2, 2), np.uint8)], note)
    assert read_note(tmp_path / "a.png") == note
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((2, 2), np.uint8))
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    assert read_note(tmp_path / "b.png") is read_note(tmp_path / "c.png") is None


def test_write_png_that_fails_keeps_the_old_file(tmp_path):
    (tmp_path / "a.png").write_bytes(b"before")
    with pytest.raises(ValueError, match="rows"):
        write_png(tmp_path / "a.png", (5, 2), [np.zeros((2, 2), np.uint8)])
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.png", b"before")]
