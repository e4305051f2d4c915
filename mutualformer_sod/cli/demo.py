"""Serve a page in the browser that maps a picture and its depth."""

import argparse

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.configs import released
from mutualformer_sod.serving.access import free_port

EPILOG = "Ctrl-C ends the demo and removes all uploads. See docs/demo.md."


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--device")
    cli.add_flags(
        parser,
        "--weights",
        nargs="+",
        default=[released.DEFAULT_WEIGHTS],
        help=f"one or several files for the user to choose from: {released.WEIGHTS_HELP}",
    )
    parser.add_argument(
        "--estimate-depth",
        action="store_true",
        help="estimate depth from colour for pictures without depth",
    )
    cli.add_server_flags(parser, port=7860)
    args = parser.parse_args()
    cli.check_server_flags(parser, args)
    return args


def main() -> None:
    args = parse_arguments()
    cli.require_packages("demo", "gradio")
    port = free_port(args.host, args.port)
    # Imported here: --help and wrong flags need no torch.
    from mutualformer_sod.demo.running import run_demo

    run_demo(
        released.name_weights([released.find_weights(given) for given in args.weights]),
        args.host,
        port,
        device=args.device,
        estimator=released.ESTIMATOR if args.estimate_depth else None,
        most_pixels=round(args.max_megapixels * 10**6),
        upload_bytes=round(args.max_upload * 10**6),
        queue=args.queue,
        ready=lambda: suggest("predict", "--help"),
    )
