"""Functions timed in turn, by a clock that the functions themselves advance."""

from mutualformer_sod.benchmark.timing import in_turn


def timed(durations, rounds, **options):
    """Return what `in_turn` measures, and the order of the runs."""
    now, order = [0.0], []

    def run(name, seconds):
        order.append(name)
        now[0] += seconds

    calls = [lambda n=name, s=s: run(n, s) for name, s in durations.items()]
    return in_turn(calls, rounds, clock=lambda: now[0], **options), order


def test_in_turn_runs_every_function_once_a_round_and_returns_no_warm_up():
    seconds, order = timed({"a": 1.0, "b": 2.0}, 3, warm_up=2)
    assert seconds == [[1.0] * 3, [2.0] * 3]
    assert order == ["a", "b"] * 5


def test_in_turn_function_with_enough_seconds_gets_no_further_run():
    seconds, order = timed({"slow": 4.0, "fast": 1.0}, 3, enough=3.0)
    assert seconds == [[4.0], [1.0, 1.0]]
    assert order == ["slow", "fast", "fast", "fast"]
