"""Read the frames of a video, and the times of the frames, with OpenCV."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.imaging.decoding import quiet_decoder
from mutualformer_sod.inference import ffmpeg

_USUAL_RATE = 25.0  # frames/s of a file without a rate


@contextlib.contextmanager
def opened(path: Path, argument: str) -> Iterator[cv2.VideoCapture]:
    """Yield an open video, or raise an InputError that names ``argument``."""
    if path.is_dir():
        raise InputError(f"`{argument}` {path}: is a folder. Fix: pass a video file.")
    if not path.exists():
        raise InputError(f"`{argument}` {path}: no such file. Fix: check the path.")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # the error below is enough
    with quiet_decoder():
        capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(
                f"`{argument}` {path}: OpenCV cannot open this video. Fix: convert to MP4 (ffmpeg)."
            )
        yield capture
    finally:
        capture.release()


def measures_of(capture: cv2.VideoCapture) -> tuple[int, int, float]:
    """Return the width and height of a video as shown in pixels, and its rate in frames/s."""
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    return max(1, width), max(1, height), rate_of(capture)


def rate_of(capture: cv2.VideoCapture) -> float:
    """Return the frame rate in frames/s, or 25 if the file has no rate."""
    return capture.get(cv2.CAP_PROP_FPS) if _has_rate(capture) else _USUAL_RATE


def pixel_aspect_of(capture: cv2.VideoCapture) -> float:
    """Return the width of a pixel divided by its height, or 1 if the file has no pixel aspect."""
    width, height = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    return width / height if width > 0 and height > 0 else 1.0


def frames_of(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yield all frames, (H, W, 3) uint8 BGR, also if the count in the header differs."""
    while (frame := capture.read()[1]) is not None:
        yield frame


def promised_frames(video: Path, capture: cv2.VideoCapture) -> tuple[int, bool]:
    """Return the number of frames in the header, 0 if unknown, and whether it is certain.

    A number that is estimated from the length of the file is not certain, because the sound may be
    longer than the pictures.
    """
    counted = None if ffmpeg.av is None else ffmpeg.count_frames(video, rate_of(capture))
    if counted is not None:
        return counted, True
    return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))), False


def _has_rate(capture: cv2.VideoCapture) -> bool:
    """Return whether a file has a frame rate; 1000 frames/s only indicate times in ms."""
    return 0 < capture.get(cv2.CAP_PROP_FPS) < 1000


class FrameTimes:
    """Times of the frames of a video.

    Attributes:
        times: times of the frames in ms from the first frame, increasing.
        untimed: number of frames without a time of their own.
    """

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self.times: list[float] = []
        self.untimed = 0
        self._capture = capture

    def next(self) -> float:
        """Return the time in ms of the frame that was read last.

        A frame without a time is placed one interval after the previous frame.
        """
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if self.times and time <= self.times[-1]:
            time = self.times[-1] + 1000 / rate_of(self._capture)
            self.untimed += 1
        self.times.append(time)
        return time

    def report(self, video: Path, promised: int, certain: bool) -> None:
        """Report frames without a time, and a video that ends before the time in its header.

        The number of frames alone is not evidence, because some formats estimate the number from
        the length. ``promised`` and ``certain`` are the results of `promised_frames`.
        """
        rate, times = rate_of(self._capture), self.times
        end = times[-1] / 1000  # s
        step = max(1 / rate, (end - times[0] / 1000) / max(1, len(times) - 1))
        length = promised / rate
        if _has_rate(self._capture) and promised > len(times) and end + 1.5 * step < length:
            doubt = "" if certain else ": it is cut off, or its sound is longer"
            print(
                f"{video}: ends after {counted(len(times), 'frame')}, at {end + step:.1f} s of the "
                f"{length:.1f} s in its header{doubt}"
            )
        if self.untimed:
            frames = counted(self.untimed, "frame")
            print(f"{video}: {frames} had no time: placed one interval after the previous frame")
