"""Starts the demo, and clears up behind it however it ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from mutualformer_sod.demo.samples import make_samples
from mutualformer_sod.demo.scratch import Scratch
from mutualformer_sod.demo.service import Service
from mutualformer_sod.errors import InputError
from mutualformer_sod.inference.predictor import Predictor

_EXIT_INTERRUPTED = 130


def run_demo(
    weights: Sequence[Path],
    host: str,
    port: int,
    *,
    device: str,
    estimator: Path | None,
    most_pixels: int,
    upload_bytes: int,
    queue: int,
) -> NoReturn:
    """Serve the page until a signal ends the process.

    Args:
        weights: files; each can be chosen in the page by its name.
        host: address to listen on.
        port: a free one.
        device: see `inference.pick_device`.
        estimator: of depth, for pictures that come without it; None for colour alone.
        most_pixels: of a picture or a depth map.
        upload_bytes: most bytes of one file.
        queue: most requests that wait.

    Raises:
        InputError: weights that cannot be used.
    """
    predictors = {
        name: Predictor.from_weights(path, device=device) for name, path in named(weights).items()
    }
    if estimator is not None:
        from mutualformer_sod.inference.estimated_depth import estimator_of

        for predictor in predictors.values():
            predictor.estimator = estimator_of(estimator)
    scratch = Scratch()
    try:
        signal.signal(signal.SIGTERM, _as_interrupt)
        prepare_gradio(scratch.path)
        from mutualformer_sod.demo.page import Limits, build_page, serve, wait_for_ever

        service = Service(predictors, scratch, most_pixels)
        samples = make_samples(scratch.path / "samples")
        page = build_page(service, samples)
        address = serve(page, host, port, Limits(upload_bytes, queue))
        scratch.keep_what_is_there()
        scratch.start()
        print(f"{address} (Ctrl-C ends it)", flush=True)
        if host not in ("127.0.0.1", "localhost", "::1"):
            print(f"--host {host}: everyone who reaches this machine can use it", flush=True)
        wait_for_ever()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("\ndemo.py: interrupted", file=sys.stderr, flush=True)
        scratch.close()
        # Threads of the server and of a network at work would be waited for.
        os._exit(_EXIT_INTERRUPTED)
    finally:
        scratch.close()


def named(weights: Sequence[Path]) -> dict[str, Path]:
    """Weights by the shortest names that tell them apart.

    Raises:
        InputError: one file is given twice.
    """
    found: dict[str, Path] = {}
    resolved = [path.resolve() for path in weights]
    for path in resolved:
        if resolved.count(path) > 1:
            raise InputError(f"--weights {path}: is given twice")
        name = next(name for name in _names(path) if sum(name in _names(p) for p in resolved) == 1)
        found[name] = path
    return found


def prepare_gradio(folder: Path) -> None:
    """Keep gradio's files in one folder and gradio off the network; before its first import."""
    os.environ |= {
        "GRADIO_TEMP_DIR": str(folder),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    # gradio asks its own server whether it is there, which a proxy could not tell.
    own = ["127.0.0.1", "localhost", "::1"]
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join([*filter(None, [os.environ.get(name)]), *own])


def _names(path: Path) -> Iterator[str]:
    """From short to long; ``runs/x/weights.safetensors`` is x first of all."""
    parts = [*path.parts[1:-1], path.stem]
    if path.stem == "weights" and len(parts) > 1:
        yield parts[-2]
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[-count:])
    yield str(path)


def _as_interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
