"""What a training configuration accepts."""

import pytest

from mutualformer_sod.configs.recipes import RECIPES
from mutualformer_sod.configs.training import TrainConfig, make_train_config


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
    ],
)
def test_a_wrong_value_is_named_with_its_flag(field, value):
    with pytest.raises(ValueError, match="--" + field.replace("_", "-")):
        TrainConfig(**{field: value})


def test_one_path_or_name_stands_for_a_list_of_one():
    config = TrainConfig(data="/data/RGBD", train_sets="NJU2K")
    assert (config.data, config.train_sets) == (("/data/RGBD",), ("NJU2K",))


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_legal(recipe):
    assert make_train_config(recipe, data=("x",), output="y").preset
