"""Compare fusion methods: train, test and score each with several seeds; write one table."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from mutualformer_sod import list_presets
from mutualformer_sod.cli import common as cli
from mutualformer_sod.configs.fusion import fusion_methods
from mutualformer_sod.configs.switches import parse_fields
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments import collect, plan, schedule
from mutualformer_sod.experiments.data import WHOLE, prepare_data
from mutualformer_sod.experiments.report import write_fusions
from mutualformer_sod.experiments.variants import CONTROLS, check_variants, parse_variants
from mutualformer_sod.report.tables import format_score

EPILOG = """\
fusions:   {fusions}
controls:  {controls}
Your own:  FUSION:FIELD=VALUE,FIELD=VALUE, for example mutualformer:steps=3,form=paper
All variants have the same shared encoder, decoder, recipe, images and evaluator.

Without --data the images are generated scenes. With it, each set is split by scene, the same way
for all, unless --test-data is given. No epoch is chosen: the last one is scored. OUTPUT gets
runs/VARIANT/seed-N (training, maps, scores), fusions.md, fusions.csv, runs.csv and fusions.png.
The same command continues an interrupted comparison; it may add fusions and seeds.
"""

_UNLESS_TEST = "without --test-data (default: %(default)s)"
_UNLESS_DATA = "without --data (default: %(default)s)"


def make_parser() -> cli.Parser:
    parser = cli.Parser(
        __doc__, EPILOG.format(fusions=" ".join(fusion_methods()), controls=" ".join(CONTROLS))
    )
    add = parser.add_argument
    cli.add_flags(parser, "--output", help="folder of the comparison")
    add(
        "--fusions",
        nargs="+",
        default=["all"],
        metavar="F",
        help="fusions, controls, your own; all: all fusions (default); controls: all controls",
    )
    add("--seeds", type=cli.COUNT, default=3, metavar="N", help="seeds 0 to N - 1 (default: 3)")
    add("--report", action="store_true", help="only write the table of the finished runs")
    data = parser.add_argument_group("data")
    add = data.add_argument
    cli.add_flags(data, "--data", required=False)
    cli.add_flags(data, "--sets", "--near")
    add("--test-data", nargs="+", metavar="ROOT", help="folders of the sets to test on")
    add(
        "--holdout",
        type=float,
        metavar="RATIO",
        help=f"ratio of each set to test on {_UNLESS_TEST}",
    )
    add("--scenes", type=int, metavar="N", help=f"training scenes {_UNLESS_DATA}")
    add("--test-scenes", type=int, metavar="N", help=f"test scenes {_UNLESS_DATA}")
    recipe = parser.add_argument_group("recipe, the same for all")
    add = recipe.add_argument
    add("--preset", help=f"{', '.join(list_presets())} (default: %(default)s)")
    add("--epochs", type=int, metavar="N", help="default: %(default)s")
    add("--lr", type=float, metavar="X", help="default: %(default)s")
    cli.add_flags(recipe, "--batch-size", "--size", type=int)
    cli.add_flags(recipe, "--amp")
    add("--init-weights", metavar="FILE", help="weights from which every encoder starts")
    cli.add_flags(
        recipe,
        "--set",
        help="model options of all variants, as in tools/train.py; a variant's own replace them",
    )
    parser.set_defaults(**vars(plan.Options()))
    machine = parser.add_argument_group("machine")
    add = machine.add_argument
    add("--jobs", type=cli.COUNT, default=1, metavar="J", help="runs at a time (default: 1)")
    add(
        "--threads",
        type=cli.COUNT,
        default=1,
        metavar="T",
        help="threads of each run on a CPU (default: 1)",
    )
    cli.add_flags(machine, "--device")
    cli.add_flags(
        machine,
        "--workers",
        type=cli.at_least(0),
        default=0,
        help="loaders of each run (default: 0)",
    )
    return parser


def main() -> int:
    args = make_parser().parse_args()
    if args.report:
        print(write_fusions(args.output, collect.collect(args.output)))
        return 0
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", args.device):
        raise InputError(f"--device {args.device!r} is unknown. Fix: pass auto, cpu, cuda or mps.")
    options = read_options(args)
    variants = parse_variants(args.fusions)
    check_variants(variants, options.preset, options.fields)
    runs = plan.runs_of(args.output, variants, args.seeds)
    # Problems of the recipe are reported once, before any run.
    plan.train_config(options, runs[0], {"data": (), "sets": (), "near": ()}, {})
    from mutualformer_sod.experiments.runs import check_networks, settle_amp  # needs torch

    options = settle_amp(args.output, options, args.device)
    if not (args.output / plan.PLAN_FILE).exists():
        check_networks(variants, options)
    with plan.alone_in(args.output):
        plan.claim_folder(args.output, options, variants, args.seeds)
        return compare(args, options, runs)


def read_options(args: argparse.Namespace) -> plan.Options:
    """Return the flags that decide the scores, with absolute paths."""

    def absolute(paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(str(Path(path).resolve()) for path in paths)

    values = {field.name: getattr(args, field.name) for field in fields(plan.Options)}
    values |= {"sets": tuple(args.sets), "near": tuple(args.near)}
    values |= {"data": absolute(args.data), "test_data": absolute(args.test_data)}
    values["fields"] = parse_fields(args.fields or [])
    if args.init_weights:
        (values["init_weights"],) = absolute([args.init_weights])
    return plan.Options(**values)


def compare(args: argparse.Namespace, options: plan.Options, runs: list[plan.Run]) -> int:
    """Do the runs, measure the costs, write the table; return the exit status."""
    data = prepare_data(args.output, options)
    done = sum(run.finished for run in runs)
    print(f"{len(runs)} runs, {done} of them finished before")
    resources = {"device": args.device, "workers": args.workers}

    def start(run: plan.Run) -> schedule.LoggedProcess:
        return schedule.LoggedProcess(
            "runs.do_run", (args.output, run, options, data, resources), run.log, args.threads
        )

    failed = schedule.do_runs(runs, start, at_once=args.jobs, describe=describe)
    finished = [run.variant for run in runs if run.finished]
    if finished:
        if not measure_costs(args, options):
            failed["costs"] = "not measured"
        print(write_fusions(args.output, collect.collect(args.output)))
        print(f"table: {args.output / 'fusions.md'}")
    if failed:
        print(f"compare_fusions.py: {len(failed)} failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def measure_costs(args: argparse.Namespace, options: plan.Options) -> bool:
    """Measure all variants that have a finished run; return whether it succeeded."""
    names = plan.read_plan(args.output)["variants"]
    variants = [
        variant
        for variant in parse_variants(names)
        if any((args.output / "runs" / variant.folder).glob(f"*/{plan.SCORES_FILE}"))
    ]
    if collect.costs_are_known(args.output, variants):
        return True
    path, log = args.output / collect.COSTS_FILE, args.output / "costs.log"
    arguments = (path, variants, options, args.device)
    problem = schedule.LoggedProcess("costs.measure_costs", arguments, log, args.threads).problem()
    if problem:
        print(f"FAILED costs: {problem}", file=sys.stderr)
    return problem is None


def describe(run: plan.Run, seconds: float) -> str:
    """Describe a finished run in one line, and each remark on its maps in another."""
    trial = collect.read_trial(run)
    s, mae = (format_score(trial.scores[WHOLE][name]) for name in ("s_measure", "mae"))
    line = f"{run.name}: S {s}, MAE {mae}; {seconds:.0f} s, {trial.seconds:.0f} of them training"
    return "\n".join([line, *(f"  {remark}" for remark in trial.remarks)])
