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
def opened(path: Path, argument: str) -> Iterator["Video"]:
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
            problem = f"`{argument}` {path}: OpenCV cannot open this video"
            raise InputError(f"{problem}. Fix: convert the video to MP4 (ffmpeg).")
        yield Video(path, capture)
    finally:
        capture.release()


class Video:
    """An open video, and the times of the frames that were read."""

    def __init__(self, path: Path, capture: cv2.VideoCapture) -> None:
        self._path, self._capture = path, capture
        sides = capture.get(cv2.CAP_PROP_FRAME_HEIGHT), capture.get(cv2.CAP_PROP_FRAME_WIDTH)
        self.size = max(1, int(sides[0])), max(1, int(sides[1]))  # (H, W) in pixels, as shown
        rate = capture.get(cv2.CAP_PROP_FPS)
        self._has_rate = 0 < rate < 1000  # 1000 frames/s only indicates times in ms
        self.rate = rate if self._has_rate else _USUAL_RATE  # frames/s
        wide, high = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
        self.pixel_aspect = wide / high if wide > 0 and high > 0 else 1.0  # width / height
        self.times: list[float] = []  # ms from the first frame, increasing
        self._untimed = 0  # frames without a time of their own

    def frames(self) -> Iterator[np.ndarray]:
        """Yield all frames, (H, W, 3) uint8 BGR, even if the count in the header differs.

        A frame without a time is placed one interval after the previous frame.
        """
        there, frame = self._capture.read()
        while there:
            time = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            if self.times and time <= self.times[-1]:
                time = self.times[-1] + 1000 / self.rate
                self._untimed += 1
            self.times.append(time)
            yield frame
            there, frame = self._capture.read()

    def promised(self) -> tuple[int, bool]:
        """Return the frame count in the header, 0 if unknown; and whether the count is certain."""
        count = None if ffmpeg.av is None else ffmpeg.count_frames(self._path, self.rate)
        if count is not None:
            return count, True
        # This estimate is from the length of the file, which may be that of the sound.
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))), False

    def report(self, promised: int, is_certain: bool) -> None:
        """Report frames without a time, and a video that ends before the time in its header."""
        times, end = self.times, self.times[-1] / 1000  # ms, s
        step = max(1 / self.rate, (end - times[0] / 1000) / max(1, len(times) - 1))
        length = promised / self.rate
        # The number of frames alone is not evidence: some formats estimate it from the length.
        if self._has_rate and promised > len(times) and end + 1.5 * step < length:
            doubt = "" if is_certain else ": it is cut off, or its sound is longer"
            print(
                f"{self._path}: ends after {counted(len(times), 'frame')}, at {end + step:.1f} s "
                f"of the {length:.1f} s in its header{doubt}"
            )
        if self._untimed:
            untimed = f"{counted(self._untimed, 'frame')} without a timestamp"
            print(f"{self._path}: {untimed}, each placed one interval after the previous frame")
