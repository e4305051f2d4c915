"""Serve a browser page that predicts a saliency map from a picture and its depth."""

import argparse
import os
import signal
import sys
import threading
from typing import NoReturn

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.configs import released
from mutualformer_sod.demo.scratch import Scratch, prepare_gradio
from mutualformer_sod.serving.access import free_port, warning_of

EPILOG = "Ctrl-C ends the demo and removes all uploads. See docs/demo.md."


def main() -> None:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--device")
    effect = f"one or several files for the user to choose from: {released.WEIGHTS_HELP}"
    default = [released.DEFAULT_WEIGHTS]
    cli.add_flags(parser, "--weights", nargs="+", default=default, help=effect)
    add = cli.flag_adder(parser)
    add("--estimate-depth", "estimate depth from colour for pictures without depth")
    cli.add_server_flags(parser, port=7860)
    args = parser.parse_args()
    cli.check_server_flags(parser, args)
    cli.require_packages("demo", "gradio")
    port = free_port(args.host, args.port)
    weights = released.name_weights([released.find_weights(given) for given in args.weights])
    # Import late, because --help and wrong flags need no torch.
    from mutualformer_sod.inference.estimated_depth import estimator_of
    from mutualformer_sod.inference.predictor import Predictor

    predictors = {n: Predictor.from_weights(p, device=args.device) for n, p in weights.items()}
    for name, predictor in predictors.items():
        predictor.require_depth(name, "the demo")
    if args.estimate_depth:
        estimate = estimator_of(released.ESTIMATOR)
        for predictor in predictors.values():
            predictor.estimator = estimate
    serve_page(predictors, port, args)


def serve_page(predictors: dict, port: int, args: argparse.Namespace) -> NoReturn:
    """Serve the page until a signal arrives, and then remove the temporary files."""
    from mutualformer_sod.demo.samples import make_samples
    from mutualformer_sod.demo.service import Service

    scratch = Scratch()
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
        prepare_gradio(scratch.path)
        from mutualformer_sod.demo.page import build_page, serve

        samples = make_samples(scratch.path / "samples")
        service = Service(predictors, scratch, round(args.max_megapixels * 10**6))
        upload_bytes = round(args.max_upload * 10**6)
        page = build_page(service, samples)
        address = serve(page, args.host, port, upload_bytes=upload_bytes, queue=args.queue)
        scratch.start()
        print(f"{address} (Ctrl-C ends the demo)", flush=True)
        if warning := warning_of(args.host):
            print(warning, flush=True)
        suggest("predict", "--help")
        threading.Event().wait()  # for ever
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(f"\n{cli.program()}: interrupted", file=sys.stderr, flush=True)
        scratch.close()
        # A normal exit would wait for the threads of the server and the network.
        os._exit(cli.EXIT_INTERRUPTED)
    finally:
        scratch.close()
