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
                f"`{argument}` {path}: OpenCV cannot open this video. "
                "Fix: convert the video to MP4 (ffmpeg)."
            )
        yield capture
    finally:
        capture.release()


def measures_of(capture: cv2.VideoCapture) -> tuple[int, int, float]:
    """Return the width and height of a video in pixels, as shown, and its rate in frames/s."""
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
    """Yield all frames, (H, W, 3) uint8 BGR, even if the count in the header differs."""
    there, frame = capture.read()
    while there:
        yield frame
        there, frame = capture.read()


def _has_rate(capture: cv2.VideoCapture) -> bool:
    """Return whether a file has a frame rate; 1000 frames/s only indicates times in ms."""
    return 0 < capture.get(cv2.CAP_PROP_FPS) < 1000


class FrameTimes:
    """Times of the frames of a video, and the number of frames according to its header."""

    def __init__(self, video: Path, capture: cv2.VideoCapture) -> None:
        self.times: list[float] = []  # ms from the first frame, increasing
        self._untimed = 0  # frames without a time of their own
        self._video, self._capture = video, capture
        count = None if ffmpeg.av is None else ffmpeg.count_frames(video, rate_of(capture))
        # OpenCV estimates the number from the length of the file, which may be that of the sound.
        estimated = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._is_certain = count is not None
        self.promised = estimated if count is None else count  # 0 if unknown

    def next(self) -> float:
        """Return the time in ms of the frame that was read last.

        A frame without a time is placed one interval after the previous frame.
        """
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if self.times and time <= self.times[-1]:
            time = self.times[-1] + 1000 / rate_of(self._capture)
            self._untimed += 1
        self.times.append(time)
        return time

    def report(self) -> None:
        """Report frames without a time, and a video that ends before the time in its header."""
        rate, times = rate_of(self._capture), self.times
        end = times[-1] / 1000  # s
        step = max(1 / rate, (end - times[0] / 1000) / max(1, len(times) - 1))
        length = self.promised / rate
        # The number of frames alone is not evidence: some formats estimate it from the length.
        if _has_rate(self._capture) and self.promised > len(times) and end + 1.5 * step < length:
            doubt = "" if self._is_certain else ": it is cut off, or its sound is longer"
            print(
                f"{self._video}: ends after {counted(len(times), 'frame')}, at {end + step:.1f} s "
                f"of the {length:.1f} s in its header{doubt}"
            )
        if self._untimed:
            print(
                f"{self._video}: {counted(self._untimed, 'frame')} without a timestamp, each "
                "placed one interval after the previous frame"
            )
