"""Released weights by their names."""

import pytest

from mutualformer_sod import Predictor
from mutualformer_sod.configs.released import DEFAULT_WEIGHTS, find_weights, released_weights
from mutualformer_sod.errors import InputError


def test_default_weights_are_among_the_released_ones():
    assert DEFAULT_WEIGHTS in released_weights()


@pytest.mark.parametrize("name", released_weights())
def test_predictor_takes_the_name_of_released_weights(name):
    assert Predictor.from_weights(name, device="cpu").model.config.preset == name


def test_file_of_the_same_name_wins_over_released_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-scratch").touch()
    assert find_weights("tiny-scratch").resolve() == tmp_path / "tiny-scratch"


def test_unknown_name_is_refused_with_the_names(tmp_path):
    with pytest.raises(InputError, match=r"^huge: no such weights file\. .*tiny"):
        find_weights("huge")
