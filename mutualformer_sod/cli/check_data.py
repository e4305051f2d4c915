"""Check the content and depth polarity of data sets, and report problems."""

import argparse
from collections import Counter
from pathlib import Path

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import given, option, suggest
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.files import check_writable, write_json

EPILOG = """\
The command prints a table and one line for each finding. A PROBLEM needs attention; a note gives
information. The exit status is 0 without a PROBLEM, 1 with one, 2 for a wrong command line. Nothing
in ROOT is changed. OUTPUT gets check.json and the pictures polarity_SET.png, which show the depth
as decided (near = bright) beside the colour images, with the evidence. docs/data.md explains every
line.
"""
CLEAN, ATTENTION = 0, 1


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--data", "--sets", "--near", "--json", "--workers", "--overwrite")
    cli.add_flags(parser, "--output", required=False, help="folder for check.json and the pictures")
    add = cli.flag_adder(parser)
    add("--quick", "read 40 images per set, and do not search for copies")
    args = parser.parse_args()
    if args.output is None and args.json is None:
        parser.refuse_unused(args, ("overwrite",), "without --output or --json")
    return args


def main() -> int:
    args = parse_arguments()
    files = {"json": args.json, "output": args.output and args.output / "check.json"}
    targets = {argument: path for argument, path in files.items() if path is not None}
    for argument, path in targets.items():
        cli.refuse_existing(path, args.overwrite)
        check_writable(path.parent, argument)
    if args.json is not None and args.json.suffix.lower() != ".json":
        raise InputError(f"--json {args.json}: wrong suffix. Fix: pass a .json file")
    # Import late, because --help needs no cv2.
    from mutualformer_sod.data.audit.check import check_data
    from mutualformer_sod.data.audit.report import check_json, check_table, layout_line
    from mutualformer_sod.workers import usable_cores

    workers = args.workers or usable_cores()
    check = check_data(args.data, args.sets, args.near, workers=workers, quick=args.quick)
    for checked in check.sets:
        print(layout_line(checked))
    print(f"\n{check_table(check)}\n")
    for finding in check.findings:
        print(finding.line())
    for path in targets.values():
        write_json(path, check_json(check))
    if args.output is not None:
        draw(check.sets, args.output)
    problems, findings = len(check.problems), len(check.findings)
    numbers = {"set": len(check.sets), "problem": problems, "note": findings - problems}
    print(", ".join(counted(number, noun) for noun, number in numbers.items()))
    near = ["near"] if args.near != ["auto"] else []
    chosen = given(args, "data", "sets", *near)
    if check.problems and args.output is None:
        suggest("check-data", *chosen, "--output", "outputs/check")
    elif not check.problems:
        # Depth is the only second modality of the released weights.
        other = any(item.found.modality.name != "depth" for item in check.sets)
        suggest("test", *chosen, *option("--modality", other and "rgb"), "--output", "outputs/maps")
    return ATTENTION if check.problems else CLEAN


def draw(sets: list, folder: Path) -> None:
    """Write a picture of the polarity for each set whose depth maps give evidence."""
    from mutualformer_sod.data.audit.picture import polarity_picture
    from mutualformer_sod.imaging.io import write_image

    numbers: Counter[str] = Counter()
    for checked in sets:
        depth = checked.depth
        if depth is not None and depth.images and depth.evidence is not None:
            name = f"polarity_{checked.label.replace('/', '_').replace(' ', '_')}"
            numbers[name] += 1  # several folders may have the same name
            suffix = f"_{numbers[name]}" if numbers[name] > 1 else ""
            path = folder / f"{name}{suffix}.png"
            write_image(path, polarity_picture(checked)[..., ::-1])
            print(f"picture: {path}")
