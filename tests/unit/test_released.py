"""Released weights by their names."""

import pytest

from mutualformer_sod import Predictor
from mutualformer_sod.configs.released import DEFAULT_WEIGHTS, find_weights, released_weights
from mutualformer_sod.errors import InputError


def test_released_default_weights_are_listed():
    assert DEFAULT_WEIGHTS in released_weights()


@pytest.mark.parametrize("name", released_weights())
def test_predictor_released_name_loads(name):
    assert Predictor.from_weights(name, device="cpu").model.config.preset == name


def test_find_weights_file_precedes_released_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-scratch").touch()
    assert find_weights("tiny-scratch").resolve() == tmp_path / "tiny-scratch"


def test_find_weights_unknown_name_lists_names(tmp_path):
    with pytest.raises(InputError, match=r"^huge: no such weights file\. .*tiny"):
        find_weights("huge")
