"""Processes of the benchmark of attention: their result, and how they end."""

import os
import signal

import pytest

from mutualformer_sod.benchmark.attention import Case, in_child
from mutualformer_sod.errors import InputError, Stopped
from mutualformer_sod.signals import ended_by_sigterm

CASE = Case("cda", "forward", 4, 8, 2, 1)


def end(case, number, also):
    """Send a signal to another process, if one is passed, and to this process."""
    for process in (also, os.getpid()):
        if process:
            os.kill(process, number)
    return case.tokens


def test_result_of_the_process_is_returned():
    assert in_child(end, CASE, 0, 0) == 4


def test_process_without_memory_gives_none():
    assert in_child(end, CASE, signal.SIGKILL, 0) is None


def test_process_that_fails_is_an_error():
    with pytest.raises(InputError, match=r"the measurement of .* failed"):
        in_child(end, CASE, signal.SIGTERM, 0)


def test_sigterm_to_the_group_is_reported_as_such():
    with pytest.raises(Stopped), ended_by_sigterm("the command did not finish"):
        in_child(end, CASE, signal.SIGTERM, os.getpid())
