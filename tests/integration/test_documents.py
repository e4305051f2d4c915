"""What the documents promise: commands that the tools accept, flags and files that exist."""

import argparse
import os
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from mutualformer_sod.cli import common as cli
from mutualformer_sod.configs.model import make_config

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "weights/README.md"]
NOTES = [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
COMMAND = re.compile(r"(?:[A-Z_]+=(?:\"[^\"]*\"|\S*)\s+)*(?:bash|python|torchrun)\s")
# Stands for python and torchrun: tells what it was asked to run, and runs nothing.
STUB = '#!/bin/sh\n[ "$1" = - ] || printf "%s\\n" "${0##*/}" "$@" "" >> "$ASKED"\n'


def commands_of(document):
    """Command lines in indented or fenced blocks and in code spans, continued lines joined."""
    text = document.read_text()
    fences = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks = [body for language, body in fences if language in ("", "bash", "sh")]
    blocks += ["\n".join(re.findall(r"^    (.*)", outside, re.MULTILINE))]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^    .*", "", outside, flags=re.MULTILINE)
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [line.strip() for line in lines if COMMAND.match(line.strip()) and "..." not in line]


COMMANDS = [
    pytest.param(command, id=f"{document.relative_to(ROOT)}: {command}")
    for document in DOCUMENTS
    for command in dict.fromkeys(commands_of(document))
]


class Parsed(Exception):
    """A tool understood its arguments; it is to do no more."""


@cache
def tool(name):
    """The functions of the command behind ``tools/<name>.py``."""
    return vars(import_module(f"mutualformer_sod.cli.{name}"))


@cache
def torchrun_parser():
    from torch.distributed.run import get_args_parser

    return get_args_parser()


@pytest.fixture
def accept(monkeypatch):
    """Parses what python or torchrun was asked to run, as it would itself."""

    def accept(program, arguments):
        if program == "torchrun":
            parsed = torchrun_parser().parse_args(arguments)
            return accept("python", [parsed.training_script, *parsed.training_script_args])
        assert arguments, "python is started without a script"
        if arguments[0].startswith("-"):  # python -m, python -c
            return None
        script, *options = arguments
        path = (ROOT / script).resolve()
        assert path.is_file(), f"there is no {script}"
        if path.parent.name == "setup":  # a part of tools/env.sh
            return None
        if path.name == "launch.py":
            return accept("torchrun", options)
        if path.name == "train.py":
            return check_training(options)
        monkeypatch.setattr(sys, "argv", [script, *options])
        with pytest.raises(Parsed):
            tool(path.stem)["main"]()
        return None

    def parse_and_stop(parser):
        argparse.ArgumentParser.parse_args(parser)
        raise Parsed

    monkeypatch.setattr(cli.Parser, "parse_args", parse_and_stop)
    return accept


def check_training(options):
    """What tools/train.py does with its options before it looks at any data."""
    train = tool("train")
    args = vars(argparse.ArgumentParser.parse_args(train["make_parser"](), options))
    config, overrides, _ = train["read_options"](args)
    make_config(config.preset, **overrides)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_is_accepted(command, accept, tmp_path):
    for program in ("python", "python3", "torchrun"):
        (tmp_path / program).write_text(STUB)
        (tmp_path / program).chmod(0o755)
    asked = tmp_path / "asked"
    environment = {k: v for k, v in os.environ.items() if k not in ("GPUS", "TORCHRUN", "EXTRAS")}
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ASKED": str(asked)}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    runs = [run.split("\n") for run in asked.read_text().split("\n\n") if run]
    assert runs, "nothing was started"
    for program, *arguments in runs:
        try:
            accept(program.rstrip("3"), arguments)
        except SystemExit as end:
            assert end.code in (0, None), f"refused: {' '.join(arguments)}"  # the reason is above


def test_commands_are_found_in_blocks_fences_and_spans(tmp_path):
    document = tmp_path / "x.md"
    document.write_text(
        'Say `bash\na.sh` or `pip x`.\n\n    GPUS=4 TORCHRUN="--nnodes 2" bash b.sh \\\n'
        "        --flag\n\n```sh\npython c.py  # why\n```\n```python\nbash = 1\n```\n"
    )
    assert [" ".join(command.split()) for command in commands_of(document)] == [
        "python c.py # why",
        'GPUS=4 TORCHRUN="--nnodes 2" bash b.sh --flag',
        "bash a.sh",
    ]


def test_an_unknown_flag_is_refused(accept):
    with pytest.raises(SystemExit):
        accept("python", ["tools/train.py", "--data", "x", "--output", "y", "--no-such-flag"])


@pytest.mark.parametrize("document", NOTES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document):
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    own = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]
    missing = [link for link in own if link and not (document.parent / link).exists()]
    assert not missing


def test_every_training_option_is_documented():
    text = (ROOT / "docs" / "training.md").read_text()
    flags = flags_of(tool("train")["make_parser"]()) - {"-h", "--help"}
    flags = {flag.replace("--no-", "--", 1) for flag in flags}  # --no-x is told with --x
    assert not {flag for flag in flags if not re.search(rf"{flag}(?![\w-])", text)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_flag_named_is_one_of_a_tool(document):
    sources = "".join(path.read_text() for path in (ROOT / "mutualformer_sod" / "cli").glob("*.py"))
    known = flags_of(tool("train")["make_parser"]()) | flags_of(torchrun_parser())
    known |= set(re.findall(r'"(--[a-z][a-z-]*)"', sources))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+[a-z]", document.read_text()))
    assert not named - known


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings}


def test_model_document_has_the_parameters_of_a_block_for_its_default_bias():
    from mutualformer_sod.models import MutualFormerBlock

    text = (ROOT / "docs" / "model.md").read_text()
    vectors = [int(count) for count in re.findall(r"`24 C\^2 \+ (\d+) C`", text)]
    dim, counts = 16, []
    for options in ({}, {"qkv_bias": False}):
        parameters = MutualFormerBlock(dim, 2, **options).parameters()
        counts.append((sum(p.numel() for p in parameters) - 24 * dim**2) // dim)
    assert vectors == counts
