"""Start the demo; remove its files at any end."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from mutualformer_sod.demo.samples import make_samples
from mutualformer_sod.demo.scratch import Scratch
from mutualformer_sod.demo.service import Service
from mutualformer_sod.inference.estimated_depth import estimator_of
from mutualformer_sod.inference.predictor import Predictor
from mutualformer_sod.serving.access import warning_of


def run_demo(
    weights: Mapping[str, Path],
    host: str,
    port: int,
    *,
    device: str,
    estimator: Path | None,
    most_pixels: int,
    upload_bytes: int,
    queue: int,
    ready: Callable[[], None],
) -> NoReturn:
    """Serve the page until a signal arrives.

    Args:
        weights: files by name; the user chooses one.
        estimator: weights of a depth estimator for pictures without depth; None for RGB alone.
        most_pixels: of a picture or a depth map.
        upload_bytes: largest size of one file.
        queue: number of requests that may wait; further ones are refused with a message.
        ready: called when the address has been printed.
    """
    predictors = {
        name: Predictor.from_weights(path, device=device) for name, path in weights.items()
    }
    for name, predictor in predictors.items():
        predictor.require_depth(name, "the demo")
    if estimator is not None:
        estimate = estimator_of(estimator)
        for predictor in predictors.values():
            predictor.estimator = estimate
    scratch = Scratch()
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
        prepare_gradio(scratch.path)
        from mutualformer_sod.demo.page import build_page, serve

        samples = make_samples(scratch.path / "samples")
        page = build_page(Service(predictors, scratch, most_pixels), samples)
        address = serve(page, host, port, upload_bytes=upload_bytes, queue=queue)
        scratch.start()
        print(f"{address} (Ctrl-C ends it)", flush=True)
        if warning := warning_of(host):
            print(warning, flush=True)
        ready()
        threading.Event().wait()  # for ever
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(f"\n{Path(sys.argv[0]).name}: interrupted", file=sys.stderr, flush=True)
        scratch.close()
        os._exit(130)  # a usual exit would wait for the threads of the server and the network
    finally:
        scratch.close()


def prepare_gradio(folder: Path) -> None:
    """Confine gradio to one folder and to this machine; call it before the first import."""
    os.environ |= {
        "GRADIO_TEMP_DIR": str(folder),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    # gradio sends a request to its own server, which must bypass a proxy.
    own = ["127.0.0.1", "localhost", "::1"]
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join([*filter(None, [os.environ.get(name)]), *own])
