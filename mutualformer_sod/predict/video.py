"""Saliency of a video, frame by frame: each frame is a picture of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.depth import SAMPLE_SIDE, DepthEncoding, encoding_of
from mutualformer_sod.data.depth_kind import DepthSample
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing
from mutualformer_sod.inference import Predictor
from mutualformer_sod.predict.pictures import overlay

_SAMPLED = 16  # frames of the depth video that tell which side is near
_SAMPLED_EVERY = 8
_USUAL_RATE = 25.0  # frames/s of a file that does not say


def predict_video(
    predictor: Predictor,
    video: Path,
    depth_video: Path | None,
    output: Path,
    *,
    near: str = "auto",
    with_overlay: bool = False,
    overwrite: bool = False,
) -> int:
    """Write ``output/NAME_map.mp4`` and, if asked, ``output/NAME_overlay.mp4``.

    The files appear whole, at the end. What was done is printed.

    Args:
        predictor: the network.
        video: what OpenCV reads (MP4, AVI, MOV, MKV ...).
        depth_video: its depth as 8-bit grey, frame for frame; None for colour alone.
        output: the folder.
        near: "auto" (told from the depth video's first frames), "white", "black" or "strict".
        with_overlay: also lay the maps over the frames.
        overwrite: replace files that are there.

    Returns:
        Number of frames.

    Raises:
        InputError: a video that cannot be read or written; outputs that are there.
    """
    outputs = [output / f"{video.stem}_map.mp4"]
    outputs += [output / f"{video.stem}_overlay.mp4"] * with_overlay
    for path in outputs:
        if path.exists() and path.resolve() in {
            video.resolve(),
            depth_video and depth_video.resolve(),
        }:
            raise InputError(f"{path}: would be replaced by an output; give another --output")
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists; give another --output, or --overwrite to replace it")
    encoding = None
    if depth_video is not None:
        encoding = _encoding_of_video(depth_video, near)
        print(f"depth: near = {encoding.near}: {encoding.reason}")
    with contextlib.ExitStack() as stack:
        capture = stack.enter_context(_opened(video))
        depth_capture = stack.enter_context(_opened(depth_video)) if depth_video else None
        rate = capture.get(cv2.CAP_PROP_FPS)
        writers = [
            stack.enter_context(_Writer(path, rate if 0 < rate < 1000 else _USUAL_RATE))
            for path in outputs
        ]
        promised = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        depths = _frames(depth_capture) if depth_capture is not None else None
        count = without_depth = 0
        bar = tqdm(_frames(capture), total=promised, unit="frame", leave=False, disable=None)
        for bgr in bar:
            depth = None if depths is None else _depth_frame(next(depths, None), bgr.shape[:2])
            without_depth += depth is None
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            saliency = predictor.predict(rgb, depth, encoding if depth is not None else None)
            grey = np.rint(saliency * 255).astype(np.uint8)
            writers[0].write(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
            if with_overlay:
                writers[1].write(cv2.cvtColor(overlay(rgb, saliency), cv2.COLOR_RGB2BGR))
            count += 1
        if count == 0:
            raise InputError(f"{video}: no frame could be read; replace the file")
        spare = depths is not None and next(depths, None) is not None
    _report(video, count, promised, without_depth if depth_video else 0, spare)
    print(f"{count} frames: {', '.join(map(str, outputs))}")
    return count


def _report(video: Path, count: int, promised: int, without_depth: int, spare: bool) -> None:
    if count < promised:
        print(f"{video}: ends after {count} frames, its header promises {promised}")
    if without_depth:
        print(f"the depth video is shorter: {without_depth} frames from colour alone")
    if spare:
        print("the depth video is longer: its rest was not used; do the frames belong together?")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # our line is enough
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(f"{path}: not a video that OpenCV reads; convert it to MP4 (ffmpeg)")
        yield capture
    finally:
        capture.release()


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 BGR until the end, wherever the header says it is."""
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield frame


def _depth_frame(bgr: np.ndarray | None, size: tuple[int, int]) -> np.ndarray | None:
    """(H, W) uint8 of a grey frame at the size of its picture; None at the end."""
    if bgr is None:
        return None
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    if grey.shape == size:
        return grey
    return cv2.resize(grey, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _encoding_of_video(path: Path, near: str) -> DepthEncoding:
    samples = []
    with _opened(path) as capture:
        for number, frame in enumerate(_frames(capture)):
            if number % _SAMPLED_EVERY == 0:
                samples.append(DepthSample.of(_depth_frame(frame, frame.shape[:2]), SAMPLE_SIDE))
            if len(samples) == _SAMPLED:
                break
    if not samples:
        raise InputError(f"{path}: no frame could be read; replace the file")
    strict = near == "strict"
    return encoding_of(samples, "auto" if strict else near, strict=strict)


class _Writer:
    """Context of an MP4 file that appears whole, once the block succeeds."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, rate
        self._stack = contextlib.ExitStack()
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> _Writer:
        self._temporary = self._stack.enter_context(replacing(self._path))
        return self

    def write(self, bgr: np.ndarray) -> None:
        """Append a frame, (H, W, 3) uint8 BGR."""
        if self._writer is None:
            codec = cv2.VideoWriter_fourcc(*"mp4v")
            size = bgr.shape[1::-1]
            self._writer = cv2.VideoWriter(str(self._temporary), codec, self._rate, size)
            self._stack.callback(self._writer.release)  # before the file is renamed
            if not self._writer.isOpened():
                raise InputError(f"{self._path}: OpenCV writes no MP4 of {size[0]} x {size[1]}")
        self._writer.write(bgr)

    def __exit__(self, *error: object) -> bool | None:
        return self._stack.__exit__(*error)
