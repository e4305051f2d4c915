"""Serve a page in the browser that maps a picture and its depth."""

import argparse
import errno
import importlib.util
import os
import socket

from mutualformer_sod.cli import common as cli
from mutualformer_sod.configs.released import DEFAULT_WEIGHTS, ESTIMATOR, WEIGHTS_HELP, find_weights
from mutualformer_sod.errors import InputError

MOST_MEGAPIXELS = 128  # `imaging.photos` reads larger pictures at a smaller size
EPILOG = "Ctrl-C ends the demo and removes all uploads. See docs/demo.md."


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--device")
    cli.add_flags(
        parser,
        "--weights",
        nargs="+",
        default=[DEFAULT_WEIGHTS],
        help=f"one or several files for the user to choose from: {WEIGHTS_HELP}",
    )
    parser.add_argument(
        "--estimate-depth",
        action="store_true",
        help="estimate depth from colour for pictures without depth",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default 127.0.0.1: this machine only; 0.0.0.0: every machine "
        "with access)",
    )
    parser.add_argument(
        "--port", type=int, default=7860, help="port (default 7860; 0: any free port)"
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=24,
        metavar="N",
        help=f"largest picture or depth map, up to {MOST_MEGAPIXELS} (default 24)",
    )
    parser.add_argument(
        "--max-upload", type=float, default=64, metavar="MB", help="largest file (default 64)"
    )
    parser.add_argument(
        "--queue",
        type=cli.COUNT,
        default=32,
        metavar="N",
        help="requests that may wait (default 32)",
    )
    args = parser.parse_args()
    if not 0 < args.max_megapixels <= MOST_MEGAPIXELS:
        parser.error(f"--max-megapixels {args.max_megapixels:g}: not in (0, {MOST_MEGAPIXELS}]")
    if not 0 < args.max_upload <= 4096:
        parser.error(f"--max-upload {args.max_upload:g}: not in (0, 4096]")
    if not 0 <= args.port <= 65535:
        parser.error(f"--port {args.port}: not in 0 to 65535")
    return args


def main() -> None:
    args = parse_arguments()
    if importlib.util.find_spec("gradio") is None:
        raise InputError("gradio is not installed. Fix: pip install -e '.[demo]'")
    port = free_port(args.host, args.port)
    # Imported late: --help and wrong flags need no torch.
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
    """Return the port, or a free one for 0.

    Raises:
        InputError: the port is in use or not allowed, or the host is no address of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InputError(
            f"--host {host}: no such address. Fix: pass 127.0.0.1 or 0.0.0.0."
        ) from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # a port is free at the end of its last connection
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            return probe.getsockname()[1]
        except PermissionError:
            raise InputError(f"--port {port}: not allowed. Fix: pass 1024 or more.") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InputError(
                    f"--port {port}: in use. Fix: pass another, or 0 for any."
                ) from None
            raise InputError(f"--host {host}: {error.strerror}") from None
