"""Write maps, overlays and cut-outs of a video as videos with the sound of the source."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mutualformer_sod.files import replacing
from mutualformer_sod.imaging.io import to_levels
from mutualformer_sod.imaging.photos import Photo
from mutualformer_sod.inference import ffmpeg
from mutualformer_sod.inference.cutouts import TRANSPARENT, CutoutStyle, cut_out
from mutualformer_sod.inference.overlays import overlay
from mutualformer_sod.inference.webm import open_webm

MAP, OVERLAY, CUTOUT = "map", "overlay", "cutout"


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
        return cut_out(Photo(rgb, rgb, None, rgb.shape[:2], 1, ()), [saliency], self.style)


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
