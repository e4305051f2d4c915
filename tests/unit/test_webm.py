"""WebM files as OpenCV's FFmpeg reads them back."""

import cv2
import numpy as np
import pytest

from mutualformer_sod.inference.webm import open_webm


def frames_of(path):
    """Frames (H, W, 3) in RGB and their times in ms."""
    capture = cv2.VideoCapture(str(path))
    frames, times = [], []
    while (got := capture.read())[0]:
        frames.append(got[1][..., ::-1])
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    return frames, times


def picture(size, number=0):
    """A square that moves over a ramp, (H, W, 3) uint8."""
    height, width = size
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[...] = np.linspace(20, 200, width)[None, :, None]
    rgb[5:15, 5 + number : 15 + number] = (230, 40, 40)
    return rgb


@pytest.mark.parametrize("size", [(359, 641), (60, 90), (31, 33), (1, 1), (17, 16)])
def test_webm_of_any_size_keeps_it(tmp_path, size):
    with open_webm(tmp_path / "v.webm") as writer:
        for number in range(3):
            writer.write(np.full((*size, 3), 40 * number, np.uint8), 40 * number)
    frames, _ = frames_of(tmp_path / "v.webm")
    assert [frame.shape for frame in frames] == [(*size, 3)] * 3


def test_webm_keeps_the_colours_of_its_frames(tmp_path):
    given = [picture((60, 90), number) for number in range(4)]
    with open_webm(tmp_path / "v.webm") as writer:
        for number, rgb in enumerate(given):
            writer.write(rgb, 40 * number)
    frames, _ = frames_of(tmp_path / "v.webm")
    for frame, rgb in zip(frames, given, strict=True):
        assert np.abs(frame.astype(int) - rgb).mean() < 3


def test_webm_keeps_uneven_times_over_its_clusters(tmp_path):
    given = [0, 40, 90, 300, 340, 1000, 3000, 3033, 5500, 40_000]
    with open_webm(tmp_path / "v.webm") as writer:
        for number, time in enumerate(given):
            writer.write(picture((32, 48), number), time)
    assert frames_of(tmp_path / "v.webm")[1] == pytest.approx(given)


@pytest.mark.parametrize("rate", [12, 25, 30000 / 1001, 60])
def test_webm_of_even_times_has_their_rate(tmp_path, rate):
    with open_webm(tmp_path / "v.webm") as writer:
        for number in range(70):
            writer.write(picture((32, 100), number), 1000 * number / rate)
    capture = cv2.VideoCapture(str(tmp_path / "v.webm"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=1e-4)


def test_webm_keeps_the_shape_of_its_pixels(tmp_path):
    with open_webm(tmp_path / "v.webm", pixel_aspect=16 / 11) as writer:
        writer.write(np.zeros((288, 352), np.uint8), 0)
    capture = cv2.VideoCapture(str(tmp_path / "v.webm"))
    sides = (capture.get(key) for key in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN))
    assert np.divide(*sides) == pytest.approx(16 / 11, rel=1e-2)


def test_webm_of_an_interrupted_block_is_not_there(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_webm(tmp_path / "v.webm") as writer:
        writer.write(picture((32, 48)), 0)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_webm_on_a_full_disk_is_named(tmp_path, full_disk):
    path = tmp_path / "v.webm"
    with full_disk(), pytest.raises(OSError) as failed, open_webm(path) as writer:
        writer.write(picture((32, 48)), 0)
    assert failed.value.filename == str(path)
