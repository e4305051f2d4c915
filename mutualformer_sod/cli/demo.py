"""A page in the browser to try weights on: drop a picture and its depth, see the map."""

from __future__ import annotations

import argparse
import errno
import os
import socket
from importlib.util import find_spec

from mutualformer_sod.cli import common as cli
from mutualformer_sod.configs.released import DEFAULT_WEIGHTS, ESTIMATOR, WEIGHTS_HELP, find_weights
from mutualformer_sod.errors import InputError

MOST_MEGAPIXELS = 128  # of larger pictures data.photos reads a smaller copy
EPILOG = "Ctrl-C ends it and removes all that was uploaded. docs/demo.md has the rest."


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[DEFAULT_WEIGHTS],
        metavar="FILE|NAME",
        help=f"one or several to choose from: {WEIGHTS_HELP}",
    )
    parser.add_argument(
        "--estimate-depth",
        action="store_true",
        help="estimate depth from colour for pictures that come without it",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default 127.0.0.1: this machine alone; 0.0.0.0: everyone who "
        "reaches it)",
    )
    parser.add_argument(
        "--port", type=int, default=7860, help="port (default 7860; 0: any that is free)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=24,
        metavar="N",
        help=f"most of a picture or depth map, up to {MOST_MEGAPIXELS} (default 24)",
    )
    parser.add_argument(
        "--max-upload", type=float, default=64, metavar="MB", help="most of one file (default 64)"
    )
    parser.add_argument(
        "--queue", type=int, default=32, metavar="N", help="most requests that wait (default 32)"
    )
    args = parser.parse_args()
    if not 0 < args.max_megapixels <= MOST_MEGAPIXELS:
        parser.error(f"--max-megapixels {args.max_megapixels:g}: above 0, to {MOST_MEGAPIXELS}")
    if not 0 < args.max_upload <= 4096:
        parser.error(f"--max-upload {args.max_upload:g}: give megabytes above 0, to 4096")
    if args.queue < 1:
        parser.error(f"--queue {args.queue}: give 1 or more")
    if not 0 <= args.port <= 65535:
        parser.error(f"--port {args.port}: give 0 to 65535")
    return args


def main() -> None:
    args = parse_arguments()
    if find_spec("gradio") is None:
        raise InputError("gradio is not installed: pip install -e '.[demo]'")
    port = free_port(args.host, args.port)
    # Only now: --help and wrong flags need no torch.
    from mutualformer_sod.demo.running import run_demo

    run_demo(
        [find_weights(given) for given in args.weights],
        args.host,
        port,
        device=args.device,
        estimator=ESTIMATOR if args.estimate_depth else None,
        most_pixels=round(args.max_megapixels * 10**6),
        upload_bytes=round(args.max_upload * 10**6),
        queue=args.queue,
    )


def free_port(host: str, port: int) -> int:
    """The port, or any free one for 0.

    Raises:
        InputError: it is taken, or the host is none of this machine's addresses.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InputError(f"--host {host}: no such address; give 127.0.0.1 or 0.0.0.0") from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # a port whose last connection just ended is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            return probe.getsockname()[1]
        except PermissionError:
            raise InputError(f"--port {port}: not allowed; give one from 1024 on") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InputError(f"--port {port}: in use; give another, or 0 for any") from None
            raise InputError(f"--host {host}: {error.strerror}") from None
