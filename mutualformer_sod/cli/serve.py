"""Serve maps, overlays and cut-outs as PNG over HTTP, for a posted picture and its depth."""

import argparse
import logging
import socket
from typing import TYPE_CHECKING

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest_program
from mutualformer_sod.configs.released import find_weights, name_weights
from mutualformer_sod.errors import InputError
from mutualformer_sod.serving.access import address_of, bind, warning_of
from mutualformer_sod.signals import StopRequest

if TYPE_CHECKING:
    from fastapi import FastAPI

EPILOG = """\
Ctrl-C or SIGTERM stops the server: accepted requests are answered, new requests are refused, and
the exit status is 0.

  curl -f -F rgb=@photo.jpg http://127.0.0.1:8000/map -o map.png

The page /docs lists all endpoints and form fields. See docs/service.md.
"""
PACKAGES = ("fastapi", "fastapi_offline", "uvicorn", "python_multipart")


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--weights", "--device", "--amp")
    cli.add_flags(parser, "--size", **cli.INPUT_SIZE)
    cli.add_flags(parser, "--estimate-depth")
    cli.add_server_flags(parser, port=8000)
    add = cli.flag_adder(parser)
    effect = "further host names to accept in the Host and Origin headers, such as a proxy's"
    add("--allow-host", effect, "NAME", nargs="+", default=[])
    add("--timeout", "maximum time of the upload, and of the answer", "SECONDS", float, default=60)
    args = parser.parse_args()
    cli.check_server_flags(parser, args, timeout=3600)
    return args


def main() -> None:
    args = parse_arguments()
    cli.require_packages("serve", *PACKAGES)
    weights = find_weights(args.weights)
    listening = bind(args.host, args.port)
    # Import late, because --help and wrong flags need no torch.
    from mutualformer_sod.inference.estimated_depth import estimator_of
    from mutualformer_sod.inference.picture_maps import settings_of
    from mutualformer_sod.inference.predictor import Predictor
    from mutualformer_sod.serving.app import build_app
    from mutualformer_sod.serving.gate import Limits
    from mutualformer_sod.serving.pictures import PictureService

    predictor = Predictor.from_weights(weights, args.size, args.device, args.amp)
    predictor.require_depth(args.weights, "the service")
    estimate = None
    if args.estimate_depth is not None:
        if predictor.modality == "rgb":
            raise InputError(
                f"--estimate-depth: --weights {args.weights} were trained without depth. Fix: omit "
                "--estimate-depth, or pass other weights."
            )
        estimate = estimator_of(args.estimate_depth), settings_of(weights, args.estimate_depth)
    most_pixels = round(args.max_megapixels * 10**6)
    service = PictureService(predictor, settings_of(weights), most_pixels, estimate)
    name = next(iter(name_weights([weights])))
    app = build_app(
        service,
        Limits(round(args.max_upload * 10**6), args.timeout),
        waiting=args.queue,
        host=args.host,
        others=args.allow_host,
        about={"weights": name, "input_size": predictor.size},
    )
    serve(app, listening, args)


def serve(app: "FastAPI", listening: socket.socket, args: argparse.Namespace) -> None:
    """Serve until a signal arrives, then answer the accepted requests and return."""
    import uvicorn

    for source in ("mutualformer_sod.data.depth", "python_multipart"):  # clients get the remarks
        logging.getLogger(source).setLevel(logging.CRITICAL)
    grace = round(2 * args.timeout)
    config = uvicorn.Config(
        app, log_level="info", server_header=False, timeout_graceful_shutdown=grace
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = uvicorn.Server(config)
    print(f"{address_of(listening, args.host)}/docs (Ctrl-C ends the service)", flush=True)
    if warning := warning_of(args.host):
        print(f"{warning}, without a password", flush=True)
    address = address_of(listening, args.host, here=True)
    suggest_program("curl", "-f", "-F", "rgb=@photo.jpg", f"{address}/map", "-o", "map.png")
    with StopRequest():  # uvicorn raises the signal again when it ends
        server.run(sockets=[listening])
    print("stopped", flush=True)
