"""Progress of long work: an estimate before, a running clock during it."""

import io
import re
import time

import pytest
from tqdm import tqdm

from mutualformer_sod import Predictor, build_model
from mutualformer_sod.inference.progress import forecast, ticking


@pytest.fixture(scope="module")
def model():
    return build_model("tiny-scratch", image_size=32, feature_blocks=[1, 2], dim=32)


def test_ticking_advances_the_clock_during_one_long_step():
    shown = io.StringIO()
    with ticking(tqdm(range(1), file=shown, mininterval=0), every=0.2) as bar:
        for _ in bar:
            end = time.monotonic() + 60  # a busy machine
            while not re.search(r"0/1 \[00:0[1-9]", shown.getvalue()) and time.monotonic() < end:
                time.sleep(0.05)
            during = shown.getvalue()
    assert re.search(r"0/1 \[00:0[1-9]", during)


def test_ticking_closes_the_bar_after_an_error():
    bar = tqdm(range(1), file=io.StringIO())
    with pytest.raises(KeyboardInterrupt), ticking(bar):
        raise KeyboardInterrupt
    assert bar.disable  # as tqdm marks a closed one


@pytest.mark.parametrize("size", [None, 32, 64])
def test_forecast_of_usual_size_is_none(model, size):
    assert forecast(Predictor(model, size, "cpu")) is None


def test_forecast_of_large_size_has_a_growing_time(model):
    def milliseconds(size):
        line = forecast(Predictor(model, size, "cpu"))
        assert f"`size` {size}: the network was built for 32" in line
        number, unit = re.search(r"about (\d+) (ms|s|minutes)", line).groups()
        return int(number) * {"ms": 1, "s": 1000, "minutes": 60_000}[unit]

    # 16 and 1024 times the tokens, whatever else this machine does meanwhile
    assert milliseconds(1024) > 4 * milliseconds(128)
