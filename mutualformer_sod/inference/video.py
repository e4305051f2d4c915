"""Write maps, overlays and cut-outs of a video as videos with the sound of the source."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.depth.encoding import DepthEncoding
from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.data.depth.notes import same_proportions
from mutualformer_sod.errors import InputError, OutputExists, counted
from mutualformer_sod.files import replacing
from mutualformer_sod.imaging.io import to_levels
from mutualformer_sod.inference import ffmpeg
from mutualformer_sod.inference.overlays import TRANSPARENT, CutoutStyle, cutout, overlay
from mutualformer_sod.inference.picture_depth import encoding_from
from mutualformer_sod.inference.progress import ticking
from mutualformer_sod.inference.smoothing import Smoother
from mutualformer_sod.inference.video_input import opened
from mutualformer_sod.inference.webm import MOST_SIDE, open_webm

if TYPE_CHECKING:  # problems of a video are reported before the slow import of torch
    from mutualformer_sod.inference.predictor import Predictor

MAP, OVERLAY, CUTOUT = "map", "overlay", "cutout"

_SAMPLED = 0, 121, 8  # start, end and step of the 16 frames from which the polarity is decided
_CHROMA_NOISE = 16  # maximum channel difference of a grey pixel in grey levels; coding causes 3
_COLOURED = 0.05  # maximum ratio of coloured pixels; 15 % in the palest of 29 photographs
_RATE_TOLERANCE = 0.01


@dataclass(frozen=True)
class VideoOutputs:
    """The output videos of a run; cut-outs in videos cannot be cropped."""

    folder: Path
    kinds: tuple[str, ...] = (MAP,)  # of `MAP`, `OVERLAY` and `CUTOUT`
    style: CutoutStyle = TRANSPARENT

    @property
    def needs_alpha(self) -> bool:
        """Whether a cut-out is transparent, which needs PyAV."""
        return CUTOUT in self.kinds and self.style.background is None

    def paths(self, video: Path) -> list[Path]:
        """Return the path ``NAME_KIND.webm`` of the output of each kind."""
        return [self.folder / f"{video.stem}_{kind}.webm" for kind in self.kinds]

    @contextlib.contextmanager
    def open(self, video: Path, pixel_aspect: float) -> Iterator[Callable[..., None]]:
        """Yield a function that appends a frame to all videos.

        The yielded function has the arguments frame (H, W, 3) uint8, map (H, W) float in
        [0, 1], and time of the frame in ms. The files appear when the context ends. The sound of
        ``video`` is added if PyAV is installed.
        """
        with contextlib.ExitStack() as stack:
            sound = video if ffmpeg.av is not None and ffmpeg.count_sound(video)[1] else None
            writers = {}
            for kind, path in zip(self.kinds, self.paths(video), strict=True):
                opener = ffmpeg.open_alpha if kind == CUTOUT and self.needs_alpha else open_webm
                writers[kind] = stack.enter_context(_opened(path, opener, pixel_aspect, sound))

            def write(rgb: np.ndarray, saliency: np.ndarray, time: float) -> None:
                for kind, writer in writers.items():
                    writer.write(self._paint(kind, rgb, saliency), time)

            yield write

    def _paint(self, kind: str, rgb: np.ndarray, saliency: np.ndarray) -> np.ndarray:
        if kind == MAP:
            return to_levels(saliency)
        if kind == OVERLAY:
            return overlay(rgb, saliency)
        return cutout(rgb, saliency, style=self.style)


def check_videos(
    video: Path, depth_video: Path | None, outputs: VideoOutputs, *, overwrite: bool = False
) -> list[str]:
    """Check the arguments of `predict_video`, and return remarks for the user.

    Raises:
        OutputExists: an output exists without ``overwrite``, or would replace an input.
        InputError: a video cannot be opened or is too large, or PyAV is missing for a transparent
            cut-out.
    """
    sources = {path.resolve() for path in (video, depth_video) if path is not None}
    for path in filter(Path.exists, outputs.paths(video)):
        if path.resolve() in sources:
            raise OutputExists(f"{path}: would replace an input. Fix: pass another `output`.")
        if not overwrite:
            remedy = "pass another `output`, or `overwrite` to replace it"
            raise OutputExists(f"{path}: exists. Fix: {remedy}.")
    with opened(video, "video") as source:
        height, width = source.size
    if max(width, height) > MOST_SIDE:
        raise InputError(
            f"`video` {video}: {width} x {height} pixels, but a side has at most {MOST_SIDE}. "
            "Fix: scale the video down."
        )
    remarks = []
    if ffmpeg.av is None:
        if outputs.needs_alpha:
            remedy = f"{ffmpeg.INSTALL}, or pass `background`"
            raise InputError(f"`cutout`: a transparent video needs PyAV. Fix: {remedy}.")
        remarks.append(f"PyAV is not installed: sound is not copied. Fix: {ffmpeg.INSTALL}")
    else:
        tracks, known = ffmpeg.count_sound(video)
        if known < tracks:
            omitted = f"{tracks - known} of {tracks} audio tracks are omitted"
            remarks.append(f"{video}: {omitted}: unknown codec")
    if depth_video is None:
        return remarks
    with opened(depth_video, "depth_video") as depth:
        depth_height, depth_width = depth.size
    if not same_proportions(depth.size, source.size):
        remarks.append(
            f"{depth_video}: {depth_width} x {depth_height} has other proportions than "
            f"{width} x {height}: STRETCHED, check that both show the same view"
        )
    if abs(depth.rate / source.rate - 1) > _RATE_TOLERANCE:
        rates = f"{depth.rate:.5g} frames/s, the video has {source.rate:.5g}"
        remedy = "NOT by time; convert both videos to the same rate"
        remarks.append(f"{depth_video}: {rates}: frames are paired by number, {remedy}")
    return remarks


def predict_video(
    predictor: "Predictor",
    video: Path,
    depth_video: Path | None,
    outputs: VideoOutputs,
    *,
    near: str = "auto",
    smooth: float = 0.0,
    overwrite: bool = False,
) -> None:
    """Predict the saliency of a video, and write the videos of ``outputs``.

    Each output has the size of the video in pixels, the times of the frames, and the sound if PyAV
    is installed. The files appear when they are complete. A summary is printed.

    Args:
        video: a file that OpenCV reads (MP4, AVI, MOV, MKV ...).
        depth_video: depth as 8-bit grey, paired by frame number; None for RGB alone.
        near: "auto" (decided from the first frames), "white", "black", "disparity" or "strict".
        smooth: maximum weight of the past, in [0, 1), see `smoothing.Smoother`; 0 is off.
        overwrite: replace existing files.

    Raises:
        InputError: an error of `check_videos`, or a video without a frame.
        OSError: an output cannot be written.
    """
    check_videos(video, depth_video, outputs, overwrite=overwrite)
    encoding = None
    if depth_video is not None:
        encoding = _encoding_of_video(depth_video, near)
        print(f"depth: {encoding.describe()}")
    smoother = Smoother(smooth) if smooth else None
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(opened(video, "video"))
        depths: Iterator[np.ndarray] = iter(())
        if depth_video is not None:
            depths = stack.enter_context(opened(depth_video, "depth_video")).frames()
        write = stack.enter_context(outputs.open(video, source.pixel_aspect))
        promised, is_certain = source.promised()
        total, without_depth = promised or None, 0
        bar = tqdm(source.frames(), total=total, unit="frame", leave=False, disable=None)
        for bgr in stack.enter_context(ticking(bar)):
            depth = _depth_frame(next(depths, None), bgr.shape[:2])
            without_depth += depth is None
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            saliency = predictor.predict(rgb, depth, encoding if depth is not None else None)
            if smoother is not None:
                saliency = smoother.step(rgb, saliency)
            write(rgb, saliency, source.times[-1])
        if not source.times:
            raise InputError(f"{video}: no frame could be read. Fix: replace the file.")
        spare = next(depths, None) is not None
        source.report(promised, is_certain)
    if depth_video is not None and without_depth:
        print(f"the depth video is shorter: no depth for {counted(without_depth, 'frame')}")
    if spare:
        print("the depth video is longer: its last frames were not used; check both videos")
    count = counted(len(source.times), "frame")
    print(f"{count}: {', '.join(map(str, outputs.paths(video)))}")


@contextlib.contextmanager
def _opened(
    path: Path, opener: Callable, pixel_aspect: float, sound: Path | None
) -> Iterator[object]:
    with replacing(path) as temporary:
        with opener(temporary, pixel_aspect) as writer:
            yield writer
        if sound is None:
            return
        try:
            ffmpeg.add_sound(temporary, sound)
        except (ffmpeg.av.FFmpegError, ValueError) as error:
            print(f"{path}: has no sound: {error}")


def _depth_frame(bgr: np.ndarray | None, size: tuple[int, int]) -> np.ndarray | None:
    """Convert a frame of a depth video, if there is one, to (H, W) uint8 at ``size``."""
    if bgr is None:
        return None
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _encoding_of_video(path: Path, near: str) -> DepthEncoding:
    samples, coloured = [], []
    with opened(path, "depth_video") as source:
        for frame in itertools.islice(source.frames(), *_SAMPLED):
            coloured.append(np.mean(np.ptp(frame, axis=2) > _CHROMA_NOISE))
            samples.append(DepthSample.of(_depth_frame(frame, frame.shape[:2])))
    if not samples:
        raise InputError(f"{path}: no frame could be read. Fix: replace the file.")
    if np.mean(coloured) > _COLOURED:
        raise InputError(
            f"`depth_video` {path}: {np.mean(coloured):.0%} of the pixels are in colour, but depth "
            "is grey. Fix: pass depth as 8-bit grey."
        )
    return encoding_from(samples, near)
