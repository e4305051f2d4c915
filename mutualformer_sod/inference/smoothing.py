"""Smooth the maps of a video over time, along the motion between its frames."""

import cv2
import numpy as np

_FLOW_SIDE = 256  # longer side in pixels of the frames for the optical flow
_GAINS = (0.5, 2.0)  # limits of the gain that cancels a change in exposure between frames
_TOLERANCE = 0.1  # grey difference in [0, 1] that reduces the weight of the past to 1/e


class Smoother:
    """Exponential mean of maps, each moved along the optical flow to the next frame.

    m(t) = (1 - w) p(t) + w moved m(t-1), where p(t) is the map of frame t before smoothing. The
    weight of the past is w = ratio exp(-(d / 0.1)^2), where d is the difference of the grey values
    of this frame and the previous frame. The previous frame is moved along the flow, and scaled to
    the mean grey value of this frame. The past has no weight after a cut, and little weight in
    newly visible areas. The flow is DIS (Kroeger et al., ECCV 2016). The maximum weight of the
    past, ``ratio``, is in (0, 1).
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # grey uint8, map

    def step(self, rgb: np.ndarray, saliency: np.ndarray) -> np.ndarray:
        """Return the smoothed map of the next frame.

        ``rgb`` is (H, W, 3) uint8, of the same size in all frames. ``saliency`` and the result are
        (H, W) float32 in [0, 1].
        """
        height, width = saliency.shape
        scale = min(1.0, _FLOW_SIDE / max(height, width))
        size = max(16, round(width * scale)), max(16, round(height * scale))
        grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        if self._last is not None:
            saliency = self._blend(grey, saliency, *self._last)
        self._last = grey, saliency
        return saliency

    def _blend(
        self, grey: np.ndarray, saliency: np.ndarray, last_grey: np.ndarray, last: np.ndarray
    ) -> np.ndarray:
        flow = self._flow.calc(grey, last_grey, None)  # (h, w, 2), from this to the previous frame
        moved_grey = _moved(last_grey, flow)
        gain = float(np.clip(grey.mean() / max(1.0, moved_grey.mean()), *_GAINS))
        difference = (grey.astype(np.float32) - gain * moved_grey) / 255
        weight = self._ratio * np.exp(-((difference / _TOLERANCE) ** 2))
        size = saliency.shape[::-1]
        weight, flow = cv2.resize(weight, size), cv2.resize(flow, size)
        flow *= np.float32(np.divide(size, grey.shape[::-1]))
        return (1 - weight) * saliency + weight * _moved(last, flow)


def _moved(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return an image (H, W) warped by a flow (H, W, 2) in pixels, x before y, as float32."""
    y, x = np.indices(image.shape, np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    image = image.astype(np.float32)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
