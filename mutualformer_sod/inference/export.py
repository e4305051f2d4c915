"""Export the network to an ONNX or torch.export file that runs without this package."""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import mutualformer_sod
from mutualformer_sod.data.modality import find_modality
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.detector import SaliencyDetector
from mutualformer_sod.models.inputs import hide_modality

# rgb (B, 3, H, W), depth (B, 1, H, W), has_depth (B,) -> logits (B, 1, H, W)
Network = Callable[[Tensor, Tensor, Tensor], Tensor]

INPUTS = ("rgb", "depth", "has_depth")
METADATA_FILE = "metadata.json"  # name inside a torch.export file
# Older exporters refuse a network that keeps features between its parts.
CAN_EXPORT = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)
_LARGEST_ONNX = 2**31 - 1  # maximum number of bytes of a protobuf message


class ExportableDetector(nn.Module):
    """A detector in eval mode that hides the modality that its training did not use.

    ``modality`` is "both", "rgb" (hides the depth) or "depth" (hides the colours).
    """

    def __init__(self, detector: SaliencyDetector, modality: str = "both") -> None:
        super().__init__()
        self.detector = detector.eval()
        self.modality = modality
        self.stride = max(detector.encoder.strides)

    def forward(self, rgb: Tensor, depth: Tensor, has_depth: Tensor) -> Tensor:
        """Compute the logits (B, 1, H, W), where H and W are multiples of ``stride``."""
        return self.detector(*hide_modality(self.modality, rgb, depth, has_depth))


def trace(exportable: ExportableDetector, size: int | None = None) -> tuple[ExportedProgram, bool]:
    """Trace the graph of a detector, for any batch size.

    ``size`` is the pixels per side; None for all multiples of the stride, or for the size of the
    configuration if the backbone has a fixed size.

    Returns:
        The program, and whether it accepts all multiples of the stride as sizes.

    Raises:
        InputError: ``size`` is not usable, or the network cannot be traced.
    """
    stride = exportable.stride
    if size is not None and (size < 32 or size % stride):
        remedy = f"pass a multiple of {stride} that is at least 32"
        raise InputError(f"`size` {size} is not usable. Fix: {remedy}")
    if size is None:
        # The sides differ from each other and from the configured size, so that no side is fixed.
        rounded = -(-exportable.detector.config.image_size // stride) * stride
        try:
            return _trace(exportable, (rounded + stride, rounded + 2 * stride), True), True
        except Exception:  # torch.export raises errors of many types
            size = rounded
    try:
        return _trace(exportable, (size, size), False), False
    except Exception as error:
        name = exportable.detector.config.encoder.backbone
        problem = f"backbone {name!r} cannot be exported: {_first_line(error)}"
        raise InputError(f"{problem}. Fix: pass weights of another backbone") from error


def describe(
    exportable: ExportableDetector, any_size: bool, protocol: dict[str, Any], size: int
) -> dict[str, str]:
    """Return the metadata of an exported file, as text.

    ``any_size`` is the second result of `trace`, and ``protocol`` the record of the training from
    the weights file. If the file accepts any size, ``size`` is the recommended one.
    """
    second = find_modality(exportable.detector.config.second_modality)
    meaning = "near = 1" if second.has_polarity else second.maps
    return {
        "format": f"mutualformer_sod/{mutualformer_sod.__version__}",
        "config": json.dumps(exportable.detector.config.to_dict()),
        "protocol": json.dumps(protocol),
        "size": str(size),
        "sizes": f"multiples of {exportable.stride}" if any_size else f"{size} x {size}",
        "rgb": "(batch, 3, height, width) float32 in [0, 1], RGB order",
        "depth": f"(batch, 1, height, width) float32 in [0, 1], {meaning}",
        "has_depth": "(batch,) bool; where false, depth is ignored",
        "logits": "(batch, 1, height, width) float32; resize them, then saliency is their sigmoid",
    }


def save_onnx(
    program: ExportedProgram, path: Path, metadata: dict[str, str], opset: int | None = None
) -> None:
    """Write an ONNX file with its weights and the metadata of `describe` inside.

    ``opset`` is the version of the ONNX operators; None for the default version of torch.

    Raises:
        InputError: torch cannot convert the program, torch does not write the opset, or the file
            would exceed the limit of 2 GiB.
    """
    import onnx
    from torch.onnx.errors import OnnxExporterError

    try:
        with _quiet():
            names = {"input_names": INPUTS, "output_names": ["logits"]}
            options = {"dynamo": True, "opset_version": opset, "verbose": False}
            model = torch.onnx.export(program, **options, **names).model_proto
    except (OnnxExporterError, ValueError, RuntimeError) as error:
        asked = "" if opset is None else f" with --opset {opset}"
        problem = f"--format onnx{asked} failed: {_first_line(error)}"
        remedy = "pass another --opset, or --format exported-program"
        raise InputError(f"{problem}. Fix: {remedy}") from error
    got = next(item.version for item in model.opset_import if item.domain == "")
    if opset is not None and got != opset:
        raise InputError(f"`opset` {opset}: this torch writes opset {got}. Fix: omit `opset`.")
    _name_axes(model)
    onnx.helper.set_model_props(model, metadata)
    if model.ByteSize() > _LARGEST_ONNX:
        problem = f"{path}: the ONNX file would exceed 2 GiB"
        raise InputError(f"{problem}. Fix: pass --format exported-program")
    path.write_bytes(model.SerializeToString())


def save_program(program: ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    """Write a file for ``torch.export.load``, with the metadata in ``METADATA_FILE``."""
    content = io.BytesIO()  # torch's own writer ends the process if the disk is full
    torch.export.save(program, content, extra_files={METADATA_FILE: json.dumps(metadata)})
    path.write_bytes(content.getbuffer())


def load_exported(path: Path) -> Network:
    """Load a file of `save_onnx` or `save_program` as a function that runs on the CPU."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def run(*inputs: Tensor) -> Tensor:
            arrays = {name: x.numpy() for name, x in zip(INPUTS, inputs, strict=True)}
            return torch.from_numpy(session.run(["logits"], arrays)[0])

        return run
    with _quiet():
        # The guards refuse a batch of one image, but the graph accepts it.
        program = torch.export.load(path).module(check_guards=False)
    return torch.inference_mode()(program)


def needs_extra(*modules: str) -> None:
    """Raise InputError if torch cannot export networks or a module is not installed."""
    if not CAN_EXPORT:
        problem = f"torch {torch.__version__} cannot export these networks"
        raise InputError(f"{problem}. Fix: install torch>=2.6")
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{', '.join(missing)}: not installed. Fix: pip install -e '.[export]'")


def _trace(
    exportable: ExportableDetector, size: tuple[int, int], any_size: bool
) -> ExportedProgram:
    inputs = torch.zeros(2, 3, *size), torch.zeros(2, 1, *size), torch.tensor([True, False])
    batch: dict[int, Any] = {0: Dim("batch")}
    image = dict(batch)
    if any_size:
        stride = exportable.stride
        image |= {2: stride * Dim("rows", min=2), 3: stride * Dim("columns", min=2)}
    with torch.no_grad(), _quiet():
        program = torch.export.export(exportable, inputs, dynamic_shapes=(image, image, batch))
    sides = next(n for n in program.graph.nodes if n.name == "rgb").meta["val"].shape[-2:]
    if any_size and any(isinstance(side, int) for side in sides):
        raise ValueError("the tracer fixed a side of the image")
    return program


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _name_axes(model: Any) -> None:
    """Rename torch's symbolic axes to batch, height and width."""
    names: dict[str, str] = {}
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, ("batch", "channels", "height", "width"), strict=False):
            if axis.dim_param:
                names.setdefault(axis.dim_param, name)
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            axis.dim_param = names.get(axis.dim_param, axis.dim_param)
