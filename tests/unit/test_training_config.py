"""Options of a training run: checks, command line, document and recipes."""

import re
from pathlib import Path

import pytest

from mutualformer_sod.cli.train import make_parser
from mutualformer_sod.configs.document import with_tables
from mutualformer_sod.configs.options import options_of
from mutualformer_sod.configs.recipes import RECIPES, make_train_config
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.errors import flag_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 1.5),
        ("epochs", 0),
        ("batch_size", "8"),
        ("lr", "1e-3"),
        ("lr", float("inf")),
        ("seed", -1),
        ("ema_decay", 1.0),
        ("schedule", "linear"),
        ("amp", "int8"),
        ("workers", True),
        ("multi_scale", 1),
        ("device", 0),
        ("train_sets", [1]),
        ("data", None),
        ("repeat", 5),
    ],
)
def test_wrong_value_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"^`{field}`="):
        TrainConfig(**{field: value})


def test_single_path_or_name_becomes_a_list_of_one():
    config = TrainConfig(data="/data/RGBD", train_sets="NJU2K")
    assert (config.data, config.train_sets) == (("/data/RGBD",), ("NJU2K",))


def test_paths_become_strings():
    config = TrainConfig(data=Path("/data"), output=Path("/run"), finetune=Path("/w"))
    assert (config.data, config.output, config.finetune) == (("/data",), "/run", "/w")


def test_tables_of_the_document_match_the_declared_options():
    document = (ROOT / "docs" / "training.md").read_text("utf-8")
    remedy = "run python -m mutualformer_sod.configs.document docs/training.md"
    assert with_tables(document) == document, remedy
    groups = {declared.group for declared in options_of(TrainConfig).values()} - {""}
    assert all(f"<!-- options: {group} -->" in document for group in groups)


def test_parser_has_one_flag_for_each_declared_option():
    text = " ".join(make_parser().format_help().split())
    flags = set(re.findall(r"--[a-z0-9-]+", text))
    for name, declared in options_of(TrainConfig).items():
        assert flag_of(name) in flags
        assert "".join(declared.help.split()) in "".join(text.split())


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_legal(recipe):
    assert make_train_config(recipe, data=("x",), output="y").preset
