"""List the released weights with their scores, or verify their files."""

import json
from pathlib import Path

from tqdm import tqdm

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.configs.released import RECORD, find_weights, released_weights
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import file_sha256

EPILOG = """\
verify compares each file with the SHA-256 in weights/released.json, and loads the file. Your own
files contain their checksums.
"""


def main() -> None:
    parser = cli.Parser(__doc__, EPILOG)
    parser.add_argument("action", nargs="?", default="list", choices=("list", "verify"))
    effect = "names of released weights, or files, to verify (default: all)"
    parser.add_argument("names", nargs="*", metavar="NAME", help=effect)
    args = parser.parse_args()
    if args.action == "list" and args.names:
        raise InputError("list accepts no names. Fix: pass verify NAME to check a file")
    records = read_records()
    if args.action == "list":
        for name, path in released_weights().items():
            print(describe(name, path, records.get(name, {})))
        suggest("weights", "verify")
        return
    from mutualformer_sod.models.weights import load_weights

    if not (args.names or released_weights()):
        raise InputError(f"verify: no released weights are in {RECORD.parent}. Fix: pass a file")
    names = args.names or list(released_weights())
    for name in tqdm(names, "verifying", unit="file", leave=False, disable=None):
        path = find_weights(name)
        sha256 = records.get(name, {}).get("sha256")
        if sha256 and file_sha256(path) != sha256:
            raise InputError(
                f"{path}: its SHA-256 is not the value in {RECORD.name}. Fix: copy the file again"
            )
        load_weights(path)
        tqdm.write(f"{path}: intact{', as released' if sha256 else ''}")
    suggest("demo", "--weights", *(args.names or released_weights()))


def read_records() -> dict[str, dict]:
    """Return name -> licence, scores and SHA-256 of the released weights."""
    if not RECORD.exists():
        return {}
    try:
        return json.loads(RECORD.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{RECORD}: not JSON: {error}. Fix: restore the file") from error


def describe(name: str, path: Path, record: dict) -> str:
    scores = [
        f"{test_set} " + ", ".join(f"{metric} {value:.3f}" for metric, value in row.items())
        for test_set, row in record.get("scores", {}).items()
    ]
    return (
        f"{name}\n  file     {path} ({path.stat().st_size / 1e6:.1f} MB)\n"
        f"  network  {record.get('network', 'not recorded')}\n"
        f"  licence  {record.get('licence', 'not recorded')}\n"
        f"  scores   {'; '.join(scores) or 'not recorded'}\n"
        f"  sha256   {record.get('sha256', 'not recorded')}"
    )
