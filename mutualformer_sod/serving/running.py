"""Start the service; stop it without loss of accepted requests."""

import logging
import socket
from collections.abc import Callable, Collection
from pathlib import Path

import uvicorn

from mutualformer_sod.inference.estimated_depth import estimator_of
from mutualformer_sod.inference.picture_maps import settings_of
from mutualformer_sod.inference.predictor import Predictor
from mutualformer_sod.serving.access import address_of, warning_of
from mutualformer_sod.serving.app import build_app
from mutualformer_sod.serving.gate import Limits
from mutualformer_sod.serving.pictures import PictureService
from mutualformer_sod.signals import StopRequest


def run_service(
    predictor: Predictor,
    weights: Path,
    listening: socket.socket,
    host: str,
    *,
    name: str,
    others: Collection[str],
    estimator: Path | None,
    limits: Limits,
    waiting: int,
    ready: Callable[[str], None],
) -> None:
    """Serve until a signal arrives; answer the accepted requests before the end.

    Args:
        predictor, weights, name: the network, its file, and the name of the weights for clients.
        listening, host: the socket of `access.bind`, and its argument.
        others: further names of this server, see `access.refusal`.
        estimator: weights of a depth estimator for pictures without depth; None for RGB alone.
        limits: of a request.
        waiting: number of requests that may wait.
        ready: called with an address of the service on this machine, once it accepts requests.
    """
    estimate = None
    if estimator is not None:
        estimate = estimator_of(estimator), settings_of(weights, estimator)
    service = PictureService(predictor, settings_of(weights), limits.pixels, estimate)
    about = {"weights": name, "input_size": predictor.size}
    app = build_app(service, limits, waiting=waiting, host=host, others=others, about=about)
    for source in ("mutualformer_sod.data.depth", "python_multipart"):  # clients get these remarks
        logging.getLogger(source).setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        log_level="info",
        server_header=False,
        timeout_graceful_shutdown=round(2 * limits.seconds),
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = uvicorn.Server(config)
    print(f"{address_of(listening, host)}/docs (Ctrl-C ends it)", flush=True)
    if warning := warning_of(host):
        print(f"{warning}, without a password", flush=True)
    ready(address_of(listening, host, here=True))
    with StopRequest():  # uvicorn repeats the signal at its end
        server.run(sockets=[listening])
    print("stopped", flush=True)
