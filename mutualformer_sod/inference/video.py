"""Saliency of a video; each frame is mapped on its own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.depth.encoding import DepthEncoding
from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.data.depth.notes import same_proportions
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.decoding import quiet_decoder
from mutualformer_sod.inference.overlays import overlay, to_levels
from mutualformer_sod.inference.picture_depth import encoding_from
from mutualformer_sod.inference.progress import ticking
from mutualformer_sod.inference.webm import MOST_SIDE, open_webm

if TYPE_CHECKING:  # problems of a video are reported before the slow import of torch
    from mutualformer_sod.inference.predictor import Predictor

_SAMPLED = 16  # frames of the depth video from which the polarity is decided
_SAMPLED_EVERY = 8
_CHROMA_NOISE = 16  # grey levels between the channels; the coding of a grey video leaves 3
_COLOURED = 0.05  # ratio of pixels beyond it; 15 % in the palest of 29 photographs
_USUAL_RATE = 25.0  # frames/s of a file without a rate
_RATE_TOLERANCE = 0.01


def check_videos(
    video: Path,
    depth_video: Path | None,
    output: Path,
    *,
    with_overlay: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Check before any work that the videos can be read and the outputs written.

    Arguments and errors are those of `predict_video`.

    Returns:
        Remarks for the user.
    """
    sources = {path.resolve() for path in (video, depth_video) if path is not None}
    for path in _outputs(video, output, with_overlay):
        if path.exists() and path.resolve() in sources:
            raise InputError(f"{path}: an output would replace it. Fix: pass another `output`.")
        if path.exists() and not overwrite:
            raise InputError(
                f"{path}: exists. Fix: pass another `output`, or `overwrite` to replace it."
            )
    with _opened(video, "video") as capture:
        width, height, rate = _measures(capture)
    if max(width, height) > MOST_SIDE:
        raise InputError(
            f"`video` {video}: {width} x {height} pixels, an output has up to {MOST_SIDE} a side. "
            "Fix: scale the video down."
        )
    if depth_video is None:
        return []
    with _opened(depth_video, "depth_video") as capture:
        depth_width, depth_height, depth_rate = _measures(capture)
    remarks = []
    if not same_proportions((depth_height, depth_width), (height, width)):
        remarks.append(
            f"{depth_video}: {depth_width} x {depth_height} has other proportions than "
            f"{width} x {height}: STRETCHED, check that it shows the same view"
        )
    if abs(depth_rate / rate - 1) > _RATE_TOLERANCE:
        remarks.append(
            f"{depth_video}: {depth_rate:.5g} frames/s, the video has {rate:.5g}: frames are "
            "paired by number, NOT by time; convert both to one rate"
        )
    return remarks


def predict_video(
    predictor: "Predictor",
    video: Path,
    depth_video: Path | None,
    output: Path,
    *,
    near: str = "auto",
    with_overlay: bool = False,
    overwrite: bool = False,
) -> int:
    """Write ``output/NAME_map.webm`` and, if asked, ``output/NAME_overlay.webm``.

    The outputs have the size of the video in pixels and the times of its frames. The files appear
    whole, at the end. A summary is printed.

    Args:
        predictor, output: the network and the folder of the outputs.
        video: a file that OpenCV reads (MP4, AVI, MOV, MKV ...).
        depth_video: its depth as 8-bit grey, paired by frame number; None for RGB alone.
        near: "auto" (decided from the first frames of the depth video), "white", "black" or
            "strict".
        with_overlay: write the overlay too.
        overwrite: replace existing files.

    Returns:
        Number of frames.

    Raises:
        InputError: a video that cannot be read or written, or existing outputs.
        OSError: an output cannot be written.
    """
    check_videos(video, depth_video, output, with_overlay=with_overlay, overwrite=overwrite)
    outputs = _outputs(video, output, with_overlay)
    encoding = None
    if depth_video is not None:
        encoding = _encoding_of_video(depth_video, near)
        print(f"depth: {encoding.describe()}")
    with contextlib.ExitStack() as stack:
        capture = stack.enter_context(_opened(video, "video"))
        depths = None
        if depth_video is not None:
            depths = _frames(stack.enter_context(_opened(depth_video, "depth_video")))
        aspect = _pixel_aspect(capture)
        writers = [stack.enter_context(open_webm(path, aspect)) for path in outputs]
        promised = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        frames = tqdm(
            _frames(capture), total=promised or None, unit="frame", leave=False, disable=None
        )
        times: list[float] = []
        untimed = without_depth = 0
        for bgr in stack.enter_context(ticking(frames)):
            depth = None if depths is None else _depth_frame(next(depths, None), bgr.shape[:2])
            without_depth += depth is None
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            time = capture.get(cv2.CAP_PROP_POS_MSEC)
            if times and time <= times[-1]:
                time = times[-1] + 1000 / _rate(capture)
                untimed += 1
            times.append(time)
            saliency = predictor.predict(rgb, depth, encoding if depth is not None else None)
            writers[0].write(to_levels(saliency), time)
            if with_overlay:
                writers[1].write(overlay(rgb, saliency), time)
        if not times:
            raise InputError(f"{video}: no frame could be read. Fix: replace the file.")
        spare = depths is not None and next(depths, None) is not None
        _report_end(video, times, promised, _rate(capture))
    if untimed:
        print(f"{video}: {untimed} frames without a time: placed one interval after the last")
    if depths is not None and without_depth:
        print(f"the depth video is shorter: {without_depth} frames mapped from RGB only")
    if spare:
        print("the depth video is longer: its last frames were not used; check that both match")
    print(f"{len(times)} frames: {', '.join(map(str, outputs))}")
    return len(times)


def _outputs(video: Path, output: Path, with_overlay: bool) -> list[Path]:
    kinds = ("map", "overlay") if with_overlay else ("map",)
    return [output / f"{video.stem}_{kind}.webm" for kind in kinds]


def _report_end(video: Path, times: list[float], promised: int, rate: float) -> None:
    """Report a video that ends before the time in its header.

    The number of frames alone is no evidence: some formats estimate it from the length.
    """
    length = promised / rate  # s
    end = times[-1] / 1000
    step = max(1 / rate, (end - times[0] / 1000) / max(1, len(times) - 1))
    if promised > len(times) and end + 1.5 * step < length:
        print(
            f"{video}: ends after {len(times)} frames, at {end + step:.1f} s of the "
            f"{length:.1f} s in its header"
        )


@contextlib.contextmanager
def _opened(path: Path, argument: str) -> Iterator[cv2.VideoCapture]:
    if path.is_dir():
        raise InputError(f"`{argument}` {path}: is a folder. Fix: pass a video file.")
    if not path.exists():
        raise InputError(f"`{argument}` {path}: no such file")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # the error below is enough
    with quiet_decoder():
        capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(
                f"`{argument}` {path}: not a video for OpenCV. Fix: convert it to MP4 (ffmpeg)."
            )
        yield capture
    finally:
        capture.release()


def _measures(capture: cv2.VideoCapture) -> tuple[int, int, float]:
    """Return width and height in pixels as shown, and frames/s."""
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    return max(1, width), max(1, height), _rate(capture)


def _rate(capture: cv2.VideoCapture) -> float:
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate < 1000 else _USUAL_RATE


def _pixel_aspect(capture: cv2.VideoCapture) -> float:
    """Return the width of a pixel divided by its height; 1 if the file has no value."""
    width, height = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    return width / height if width > 0 and height > 0 else 1.0


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yield frames (H, W, 3) uint8 BGR up to the real end, whatever the header has."""
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield frame


def _depth_frame(bgr: np.ndarray | None, size: tuple[int, int]) -> np.ndarray | None:
    """Convert a grey frame to (H, W) uint8 at the size of its picture; None stays None."""
    if bgr is None:
        return None
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _encoding_of_video(path: Path, near: str) -> DepthEncoding:
    samples, coloured = [], []
    with _opened(path, "depth_video") as capture:
        for number, frame in enumerate(_frames(capture)):
            if number % _SAMPLED_EVERY == 0:
                coloured.append(np.mean(np.ptp(frame, axis=2) > _CHROMA_NOISE))
                samples.append(DepthSample.of(_depth_frame(frame, frame.shape[:2])))
            if len(samples) == _SAMPLED:
                break
    if not samples:
        raise InputError(f"{path}: no frame could be read. Fix: replace the file.")
    if np.mean(coloured) > _COLOURED:
        raise InputError(
            f"`depth_video` {path}: frames in colour ({np.mean(coloured):.0%} of the pixels), but "
            "depth is grey. Fix: pass depth as 8-bit grey."
        )
    return encoding_from(samples, near)
