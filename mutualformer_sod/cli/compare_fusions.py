"""Train, test and score fusion methods with several seeds, and compare them in one table."""

import argparse
import re
import sys
from dataclasses import fields
from pathlib import Path

from tqdm import tqdm

from mutualformer_sod import list_presets
from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.configs.fusion_names import fusion_names
from mutualformer_sod.configs.recipes import RECIPES
from mutualformer_sod.configs.switches import parse_fields
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.experiments import collect, plan, schedule
from mutualformer_sod.experiments.data import prepare_data, refuse_mixed
from mutualformer_sod.experiments.report import write_fusions
from mutualformer_sod.experiments.variants import CONTROLS, check_variants, parse_variants
from mutualformer_sod.inference.progress import ticking
from mutualformer_sod.report.tables import format_score

EPILOG = """\
fusions:   {fusions}
controls:  {controls}
Your own:  FUSION:FIELD=VALUE,FIELD=VALUE, for example mutualformer:steps=3,form=paper
All variants have the same shared encoder, decoder, recipe, images and evaluator.

Without --data the images are generated scenes. With --data, each set is split by scene, with the
same split for all variants, unless --test-data is passed. The last epoch is always scored. OUTPUT
gets runs/VARIANT/seed-N (training, maps, scores), fusions.md, fusions.csv, runs.csv, fusions.png
and image_scores.csv.gz.
The same command continues an interrupted comparison, also with more fusions and seeds.
"""

_DEFAULTS = plan.Options()


def make_parser() -> cli.Parser:
    parser = cli.Parser(
        __doc__, EPILOG.format(fusions=" ".join(fusion_names()), controls=" ".join(CONTROLS))
    )
    add = cli.flag_adder(parser)
    cli.add_flags(parser, "--output", help="folder of the comparison")
    effect = "fusions, controls, own variants; all: all fusions (default); controls: all controls"
    add("--fusions", effect, "F", nargs="+", default=["all"])
    add("--seeds", "seeds 0 to N - 1", "N", cli.COUNT, default=3)
    add("--report", "only write the table of the finished runs")
    effect = "with --report: an image_scores.csv.gz in place of the runs in OUTPUT"
    add("--scores", effect, "FILE", Path)
    _add_data_flags(parser.add_argument_group("data"))
    _add_recipe_flags(parser.add_argument_group("recipe, the same for all"))
    machine = parser.add_argument_group("machine")
    add = cli.flag_adder(machine)
    add("--jobs", "runs at a time", "J", cli.COUNT, default=1)
    add("--threads", "threads of each run on a CPU", "T", cli.COUNT, default=1)
    cli.add_flags(machine, "--device")
    add("--workers", "loader processes of each run", "N", cli.at_least(0), default=0)
    return parser


def _add_data_flags(group: argparse._ArgumentGroup) -> None:
    add = cli.flag_adder(group)
    cli.add_flags(group, "--data", required=False, type=absolute)
    cli.add_flags(group, "--sets")
    cli.add_flags(group, "--near", default=None)
    add("--limit", "train on the first N images of each set", "N", cli.COUNT)
    add("--estimated-depth", "as in tools/train.py", "DIR", absolute)
    add("--test-data", "folders of the sets to test on", "ROOT", absolute, nargs="+")
    add("--test-limit", "test on the first N images of each set", "N", cli.COUNT)
    group.add_argument(
        "--test-depth",
        nargs="+",
        choices=plan.DEPTHS,
        metavar="KIND",
        help="test with misleading depth, too: "
        + "; ".join(f"{name}: {meaning}" for name, meaning in plan.DEPTHS.items()),
    )
    group.add_argument(
        "--holdout",
        type=float,
        metavar="RATIO",
        help="ratio of the images of each set to test on (default: 0.2 without --test-data, else "
        "0); with --test-data, only sets with depth are split, and their test parts form one more "
        "test set",
    )
    effect = "sets to split (default: all that --holdout splits)"
    add("--holdout-sets", effect, "SET", nargs="+")
    add("--scenes", f"training scenes without --data (default: {_DEFAULTS.scenes})", "N", int)
    add("--test-scenes", f"test scenes without --data (default: {_DEFAULTS.test_scenes})", "N", int)


def _add_recipe_flags(group: argparse._ArgumentGroup) -> None:
    add = cli.flag_adder(group)
    effect = "recipe of tools/train.py; the options below replace the recipe's values"
    add("--recipe", effect, "NAME", choices=RECIPES)
    presets = ", ".join(list_presets())
    group.add_argument("--preset", help=f"{presets} (default: {_DEFAULTS.preset})")
    add("--epochs", f"default: {_DEFAULTS.epochs}", "N", int)
    add("--lr", f"default: {_DEFAULTS.lr}", "X", float)
    add("--batch-size", f"default: {_DEFAULTS.batch_size}", "N", int)
    cli.add_flags(group, "--size", type=int)
    cli.add_flags(group, "--amp")
    add("--init-weights", "weights from which every encoder starts", "FILE", absolute)
    cli.add_flags(
        group,
        "--set",
        help="model options of all variants, as in tools/train.py; a variant's own options replace "
        "them",
    )


def absolute(path: str) -> str:
    """Return an absolute path, because a comparison may be continued from another folder."""
    return str(Path(path).resolve())


def main() -> int:
    parser = make_parser()
    args = parser.parse_args()
    if args.report:
        of_runs = [name for name in vars(args) if name not in ("output", "report", "scores")]
        parser.refuse_unused(args, of_runs, "with --report")
    if args.data:
        parser.refuse_unused(args, ("scenes", "test_scenes"), "with --data")
    if args.report and args.scores:
        print(write_fusions(args.output, collect.read_image_scores(args.scores)))
        return 0
    if args.scores:
        raise InputError("--scores has no effect without --report. Fix: pass both.")
    if args.report:
        print(write_report(args.output))
        return 0
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", args.device):
        raise InputError(f"--device {args.device!r} is unknown. Fix: pass auto, cpu, cuda or mps.")
    options = read_options(args)
    variants = parse_variants(args.fusions)
    check_variants(variants, options.preset, options.fields)
    runs = plan.runs_of(args.output, variants, args.seeds)
    # Problems of the recipe are reported once, before any run.
    plan.train_config(options, runs[0], {"data": (), "sets": (), "near": ()}, {})
    if not (args.output / plan.DATA_FILE).exists():
        refuse_mixed(options)
    from mutualformer_sod.experiments.runs import check_networks, resolve_amp  # needs torch

    options = resolve_amp(args.output, options, args.device)
    if not (args.output / plan.PLAN_FILE).exists():
        check_networks(variants, options)
    with plan.alone_in(args.output):
        plan.claim_folder(args.output, options, variants, args.seeds)
        return compare(args, options, runs)


def read_options(args: argparse.Namespace) -> plan.Options:
    """Return the options that affect the scores, with flags in place of the recipe's values."""
    own = {field.name for field in fields(plan.Options)}
    values = {name: value for name, value in RECIPES.get(args.recipe, {}).items() if name in own}
    given = {name: value for name in own if (value := getattr(args, name)) not in (None, [])}
    values |= {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
    return plan.Options(**values | {"fields": parse_fields(args.fields)})


def compare(args: argparse.Namespace, options: plan.Options, runs: list[plan.Run]) -> int:
    """Do the runs, measure the costs, write the table, and return the exit status."""
    data = prepare_data(args.output, options)
    done = sum(run.finished for run in runs)
    print(f"{counted(len(runs), 'run')}, {done} finished before")
    resources = {"device": args.device, "workers": args.workers}

    def start(run: plan.Run) -> schedule.LoggedProcess:
        arguments = (args.output, run, options, data, resources)
        log = run.folder.with_suffix(".log")
        return schedule.LoggedProcess("runs.do_run", arguments, log, args.threads)

    failed = schedule.do_runs(runs, start, at_once=args.jobs, describe=describe)
    finished = [run.variant for run in runs if run.finished]
    if finished:
        if not measure_costs(args, options):
            failed["costs"] = "not measured"
        print(write_report(args.output))
        print(f"table: {args.output / 'fusions.md'}")
        suggest("compare-fusions", "--report", "--output", args.output)
    if failed:
        names = ", ".join(failed)
        print(f"{cli.program()}: {len(failed)} failed: {names}", file=sys.stderr)
    return 1 if failed else 0


def write_report(output: Path) -> str:
    """Write the table of the finished runs, and the scores of each image for --scores."""
    table = collect.collect(output)
    collect.write_image_scores(output / "image_scores.csv.gz", table)
    return write_fusions(output, table)


def measure_costs(args: argparse.Namespace, options: plan.Options) -> bool:
    """Measure the costs of the variants with a finished run; return False for a failure."""
    names = list(plan.read_plan(args.output)["seeds"])
    variants = [
        variant
        for variant in parse_variants(names)
        if any((args.output / "runs" / variant.folder).glob(f"*/{plan.SCORES_FILE}"))
    ]
    if collect.costs_are_known(args.output, variants):
        return True
    path, log = args.output / collect.COSTS_FILE, args.output / "costs.log"
    arguments = (path, variants, options, args.device)
    print(f"measuring the cost of {counted(len(variants), 'variant')}, see {log}", flush=True)
    process = schedule.LoggedProcess("costs.measure_costs", arguments, log, args.threads)
    clock = tqdm(desc="costs", bar_format="{desc} [{elapsed}]", leave=False, disable=None)
    with ticking(clock):
        problem = process.problem()
    if problem:
        print(f"FAILED costs: {problem}", file=sys.stderr)
    return problem is None


def describe(run: plan.Run, seconds: float) -> str:
    """Return one line about a finished run, and one line for each remark on its maps."""
    trial = collect.read_trial(run)
    group, scores = next(iter(trial.scores.items()))
    s, mae = (format_score(scores[name]) for name in ("s_measure", "mae"))
    times = f"{seconds:.0f} s, {trial.seconds:.0f} of them training"
    line = f"{run.name}: {group}: S {s}, MAE {mae}; {times}"
    return "\n".join([line, *(f"  {remark}" for remark in trial.remarks)])
