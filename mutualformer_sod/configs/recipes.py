"""Recipes of training: each file in the folder ``recipes`` sets several options at once.

A file is ``{"description": "...", "options": {...}}``; its name is the recipe's. JSON, because the
standard library of Python 3.10 reads no TOML. ``make_train_config`` checks names and values.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("recipes")
_FILES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}

RECIPES: dict[str, dict[str, Any]] = {name: file["options"] for name, file in _FILES.items()}
FINE_TUNE = "fine-tune"  # the default of --fine-tune
DESCRIPTIONS: dict[str, str] = {name: file["description"] for name, file in _FILES.items()}
