"""Answer the requests of the page with pictures and a message."""

import reprlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from mutualformer_sod.data.depth.disparity import DISPARITY, disparity_question
from mutualformer_sod.data.depth.encoding import DepthEncoding, depth_to_unit
from mutualformer_sod.data.depth.evidence import weigh
from mutualformer_sod.data.depth.kind import DepthSample, decide_units
from mutualformer_sod.data.depth.polarity import encoding_of
from mutualformer_sod.demo.scratch import Scratch
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.files import file_sha256
from mutualformer_sod.imaging.io import read_depth, to_levels
from mutualformer_sod.imaging.photos import Photo, averaged, read_photo
from mutualformer_sod.imaging.png import write_png
from mutualformer_sod.inference.overlays import cut_out, overlay, paint
from mutualformer_sod.inference.picture_depth import fit_depth
from mutualformer_sod.inference.predictor import Predictor, native_saliency
from mutualformer_sod.serving.pictures import check_pixels, problem_of

INPUTS = ("picture", "depth", "weights", "threshold", "invert")  # of the page, in order
_SHOWN_PIXELS = 10**6  # maximum number of pixels of an overlay or of the shown depth
_CACHED = 32  # outputs of the network: a new threshold does not run the network again
_NAME_LENGTH = 60


@dataclass(frozen=True)
class Request:
    """Inputs of one request."""

    rgb: Path | None  # None before the user has chosen a picture
    depth: Path | None  # None for RGB alone
    weights: str  # one of the names of `Service.predictors`
    threshold: float = 0.0  # values >= threshold become 1, others 0; threshold 0 has no effect
    invert: bool = False  # invert the polarity of the depth


class Answer(NamedTuple):
    """Outputs of one request, with a PNG file or None for each picture."""

    message: str
    saliency: Path | None = None  # of the size of the picture
    overlay: Path | None = None  # of at most `_SHOWN_PIXELS`
    cutout: Path | None = None  # of the size of the picture
    depth: Path | None = None  # input of the network, near = white, of at most `_SHOWN_PIXELS`


class _Prediction(NamedTuple):
    logits: Tensor  # (1, 1, h, w)
    depth: np.ndarray | None  # input of the network, (h, w) uint8
    notes: tuple[str, ...]  # remarks for the user


class Service:
    """Answer requests one at a time, from any number of threads, with weights chosen by name."""

    def __init__(
        self, predictors: Mapping[str, Predictor], scratch: Scratch, most_pixels: int
    ) -> None:
        self.predictors = dict(predictors)
        self._scratch = scratch
        self._most_pixels = most_pixels
        self._cache: OrderedDict[tuple, _Prediction] = OrderedDict()
        self._turn = threading.Lock()

    def answer(self, request: Request) -> Answer:
        """Predict the map of a picture; for an unusable file, return only a message."""
        if request.rgb is None:
            return Answer("Drop a picture, or click on a sample.")
        paths = [path for path in (request.rgb, request.depth) if path]
        try:
            with self._turn:
                for path in paths:
                    if not path.is_file():
                        raise InputError(f"{path}: was removed. Fix: upload the file again.")
                    check_pixels(path, self._most_pixels)
                photo = read_photo(request.rgb)
                prediction = self._prediction_of(request, photo)
                saliency = native_saliency(prediction.logits, photo.rgb.shape[:2])
                if request.threshold > 0:
                    saliency = (saliency >= request.threshold).astype(np.float32)
                stem = request.rgb.stem[:_NAME_LENGTH]
                files = self._write(stem, photo, saliency, prediction.depth)
        except Exception as error:  # the page continues, even after a defect
            line, _ = problem_of(error, {path: path.name for path in paths})
            return Answer(f"Error: {line}")
        height, width = photo.native_size
        notes = [f"{request.rgb.name}, {width} x {height}", *photo.notes, *prediction.notes]
        return Answer("\n".join(notes), *files)

    def _prediction_of(self, request: Request, photo: Photo) -> _Prediction:
        """Return the output of the network, from the cache if possible."""
        files = [path and file_sha256(path) for path in (request.rgb, request.depth)]
        suffix = request.depth and request.depth.suffix.lower()  # decides how depth is read
        key = (*files, suffix, request.weights, request.invert)
        prediction = self._cache.pop(key, None)
        if prediction is None:
            prediction = _predict(self.predictors[request.weights], request, photo)
        self._cache[key] = prediction
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return prediction

    def _write(
        self, stem: str, photo: Photo, saliency: np.ndarray, depth: np.ndarray | None
    ) -> list[Path]:
        """Write the pictures of an `Answer`, and return their files."""
        small = averaged(saliency, _SHOWN_PIXELS)
        pictures = {
            "map": (saliency.shape, paint("maps", photo, [saliency])),
            "overlay": (small.shape, [overlay(averaged(photo.rgb, _SHOWN_PIXELS), small)]),
            "cutout": (saliency.shape, [cut_out(photo, [saliency])]),
        }
        if depth is not None:
            pictures["depth"] = depth.shape, [depth]
        folder, files = self._scratch.new_folder(), []
        for kind, (size, strips) in pictures.items():
            files.append(folder / f"{stem}_{kind}.png")
            write_png(files[-1], size, strips)
        return files


def _predict(predictor: Predictor, request: Request, photo: Photo) -> _Prediction:
    depth = encoding = None
    if request.depth is None:
        without = "RGB only" if predictor.estimator is None else "estimated depth"
        notes = [f"no depth map: {without}"]
    elif predictor.modality == "rgb":
        notes = ["the weights were trained without depth: RGB only"]
    else:
        depth, encoding, notes = _read_depth(request, photo)
    logits = predictor.image_logits(photo.rgb, depth, encoding)
    predictor.check_finite(logits, request.weights)
    if depth is not None:
        unit = depth_to_unit(depth, encoding, predictor.model.config.depth_rule)
        depth = to_levels(averaged(unit, _SHOWN_PIXELS))
    return _Prediction(logits, depth, tuple(notes))


def _read_depth(
    request: Request, photo: Photo
) -> tuple[np.ndarray | None, DepthEncoding | None, list[str]]:
    """Return raw depth (h, w) and its encoding, both None for constant depth, and remarks."""
    raw = read_depth(request.depth)
    samples = [DepthSample.of(raw)]
    encoding = encoding_of(samples, quiet=True)
    units = decide_units(samples)
    question = disparity_question(samples, units, weigh(samples, units.metric))
    if question:
        encoding = encoding_of(samples, "black" if request.invert else DISPARITY)
    depth, notes = fit_depth(raw, encoding, photo, photo.rgb.shape[:2])
    if depth is None:
        return None, None, notes
    how = "decided from this map alone" if encoding.kind == "map" else "metres or millimetres"
    if encoding.is_contradicted:
        how += ", but the map is evidence of the opposite: try the switch"
    if question:
        how = f"{question}: {'millimetres' if request.invert else 'disparity'} by the switch"
    elif request.invert:
        encoding = replace(encoding, near="black" if encoding.near == "white" else "white")
        how = "inverted by the switch"
    side = "large" if encoding.near == "white" else "small"
    notes.insert(0, f"depth: {side} values are near ({how})")
    if encoding.holes:
        notes.append(f"depth: {encoding.holes:.1%} holes, filled")
    return depth, encoding, notes


def check_inputs(inputs: Sequence[Any], weights: Sequence[str]) -> None:
    """Raise InputError if the number, types or ranges of decoded JSON inputs are illegal."""
    if len(inputs) != len(INPUTS):
        remedy = f"pass {len(INPUTS)}: {', '.join(INPUTS)}"
        raise InputError(f"received {counted(len(inputs), 'input')}. Fix: {remedy}.")
    picture, depth, name, threshold, invert = inputs
    is_number = type(threshold) in (int, float)  # not bool
    upload = "upload the file and pass the answer of the upload, or null"
    usable = (
        (_is_file_or_none(picture), upload),
        (_is_file_or_none(depth), upload),
        (name in weights, f"pass one of {', '.join(weights)}"),
        (is_number and 0 <= threshold <= 1, "pass a number from 0 to 1"),
        (isinstance(invert, bool), "pass true or false"),
    )
    for label, value, (is_usable, remedy) in zip(INPUTS, inputs, usable, strict=True):
        if not is_usable:
            raise InputError(f"{label} {reprlib.repr(value)} is not usable. Fix: {remedy}.")


def _is_file_or_none(value: Any) -> bool:
    if value is None:
        return True
    path = value.get("path") if isinstance(value, dict) else None
    return isinstance(path, str) and path != "" and "\0" not in path
