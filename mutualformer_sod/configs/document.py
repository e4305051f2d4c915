"""Tables of docs/training.md, generated from the declared options and the recipes.

``python -m mutualformer_sod.configs.document docs/training.md`` updates the document.
"""

import re
import sys
from pathlib import Path

from mutualformer_sod.configs.options import describe_default, options_of
from mutualformer_sod.configs.recipes import DESCRIPTIONS
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.errors import flag_of

_TABLE = re.compile(r"<!-- (recipes|options: ([a-z ]+)) -->\n(?:\|.*\n)*")


def with_tables(document: str) -> str:
    """Return the document with a newly generated table below every marker.

    Markers are ``<!-- options: GROUP -->`` and ``<!-- recipes -->``.
    """

    def generate(found: re.Match[str]) -> str:
        rows = _recipe_rows() if found[2] is None else _option_rows(found[2])
        return "\n".join([f"<!-- {found[1]} -->", *rows, ""])

    return _TABLE.sub(generate, document)


def _option_rows(group: str) -> list[str]:
    rows = ["| option | default | effect | `--resume` may change it |", "|---|---|---|---|"]
    for name, declared in options_of(TrainConfig).items():
        if declared.group == group:
            flag = f"{flag_of(name)} {declared.value.metavar}".strip()
            default = describe_default(TrainConfig, name)
            rows.append(f"| `{flag}` | {default} | {declared.effect} | {declared.resume.text} |")
    return rows


def _recipe_rows() -> list[str]:
    rows = [f"| `{name}` | {text} |" for name, text in DESCRIPTIONS.items()]
    return ["| recipe | training |", "|---|---|", *rows]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text("utf-8")), "utf-8")
