"""Training recipes, each a file in the folder ``recipes`` that sets several options.

A file contains ``{"description": "...", "options": {...}}``; the recipe has the file's name. The
format is JSON, because the standard library of Python 3.10 cannot read TOML.
``make_train_config`` checks names and values.
"""

import json
from pathlib import Path
from typing import Any

from mutualformer_sod.configs.options import check_effects, options_of
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.errors import InputError

FOLDER = Path(__file__).with_name("recipes")
_FILES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}

RECIPES: dict[str, dict[str, Any]] = {name: file["options"] for name, file in _FILES.items()}
FINE_TUNE = "fine-tune"  # the default recipe with --fine-tune
DESCRIPTIONS: dict[str, str] = {name: file["description"] for name, file in _FILES.items()}


def make_train_config(recipe: str | None = None, **fields: Any) -> TrainConfig:
    """Return the recipe's configuration, or the defaults, with some values replaced by ``fields``.

    Raises:
        InputError: the recipe is unknown, a value is illegal, or one of ``fields`` has no effect
            (`check_effects`). Options of the recipe without an effect are accepted.
    """
    if recipe is not None and recipe not in RECIPES:
        raise InputError(f"`recipe` {recipe!r} is unknown. Fix: pass one of {', '.join(RECIPES)}.")
    values = dict(RECIPES[recipe]) if recipe else {}
    if fields.get("train_sets"):  # the given sets replace the recipe's protocol
        values.pop("protocol", None)
    if fields.get("init_weights") or fields.get("finetune"):  # replace the recipe's weights
        values.pop("pretrained", None)
    values |= fields
    if unknown := sorted(values.keys() - options_of(TrainConfig)):
        raise InputError(
            f"unknown training option {unknown[0]!r}. Fix: pass the name of a field of TrainConfig"
        )
    config = TrainConfig(**values)
    check_effects(config, fields)
    return config
