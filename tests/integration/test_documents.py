"""The documents: commands parse, flags, links, module paths and code samples exist."""

import argparse
import ast
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.commands import COMMANDS as CONSOLE_COMMANDS
from mutualformer_sod.configs.model import make_config
from mutualformer_sod.metrics.registry import COLUMNS

ROOT = Path(__file__).resolve().parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
DOCUMENTS = [*READMES, *sorted((ROOT / "docs").glob("*.md")), ROOT / "weights/README.md"]
NOTES = [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
ASSIGNMENT = re.compile(r"[A-Z_]+=")
COMMAND = re.compile(
    r"(?:[A-Z_]+=(?:\"[^\"]*\"|\S*)\s+)*(?:bash|python|torchrun|mutualformer-sod)\s"
)
# Replaces python and torchrun: records its arguments and runs nothing.
OPEN = re.compile(r"\.\.\.|\bCOMMAND\b")  # not a complete command
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
    return [line.strip() for line in lines if COMMAND.match(line.strip()) and not OPEN.search(line)]


FIRST_IN = {  # each command once, with the first document that has it
    " ".join(command.split("  #")[0].split()): document.relative_to(ROOT)
    for document in reversed(DOCUMENTS)
    for command in commands_of(document)
}
COMMANDS = [pytest.param(command, id=f"{name}: {command}") for command, name in FIRST_IN.items()]


class Parsed(Exception):
    """Raised when a command has parsed its arguments, in place of running it."""


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
    """Return a function that parses a command line as the command itself would."""

    def accept(program, arguments):
        if program == "torchrun":
            parsed = torchrun_parser().parse_args(arguments)
            return accept("python", [parsed.training_script, *parsed.training_script_args])
        assert arguments, f"{program} is started without arguments"
        if program == "mutualformer-sod":
            name, *options = arguments
            assert name in CONSOLE_COMMANDS
            return accept("python", [f"tools/{name.replace('-', '_')}.py", *options])
        if arguments[:2] == ["-m", "mutualformer_sod"]:
            return accept("mutualformer-sod", arguments[2:])
        if arguments[0].startswith("-"):  # another python -m, python -c
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
    """Check options as the command ``train`` does before it reads any data."""
    train = tool("train")
    args = vars(argparse.ArgumentParser.parse_args(train["make_parser"](), options))
    config, overrides, _ = train["read_options"](args)
    make_config(config.preset, **overrides)


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_command_parses(command, accept, tmp_path):
    words = shlex.split(command, comments=True)
    while ASSIGNMENT.match(words[0]):
        del words[0]
    runs = started_by_bash(command, tmp_path) if words[0] == "bash" else [words]
    assert runs, "nothing was started"
    for program, *arguments in runs:
        try:
            accept(program.rstrip("3"), arguments)
        except SystemExit as end:
            assert end.code in (0, None), f"refused: {' '.join(arguments)}"  # the reason is above


def started_by_bash(command, folder):
    """Run a command in bash; return the calls of python and torchrun in it, which do nothing."""
    for program in ("python", "python3", "torchrun"):
        (folder / program).write_text(STUB)
        (folder / program).chmod(0o755)
    calls = folder / "asked"
    environment = {k: v for k, v in os.environ.items() if k not in ("GPUS", "TORCHRUN", "EXTRAS")}
    environment |= {"PATH": f"{folder}:{os.environ['PATH']}", "ASKED": str(calls)}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [run.split("\n") for run in calls.read_text().split("\n\n") if run]


def test_commands_of_finds_blocks_fences_and_spans(tmp_path):
    document = tmp_path / "x.md"
    document.write_text(
        'Run `bash\na.sh` or `pip x`.\n\n    GPUS=4 TORCHRUN="--nnodes 2" bash b.sh \\\n'
        "        --flag\n\n```sh\npython c.py  # why\n```\n```python\nbash = 1\n```\n"
    )
    assert [" ".join(command.split()) for command in commands_of(document)] == [
        "python c.py # why",
        'GPUS=4 TORCHRUN="--nnodes 2" bash b.sh --flag',
        "bash a.sh",
    ]


def test_accept_with_unknown_flag_refuses_it(accept):
    with pytest.raises(SystemExit):
        accept("python", ["tools/train.py", "--data", "x", "--output", "y", "--no-such-flag"])


@pytest.mark.parametrize("document", NOTES, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_links_exist(document):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)", target.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


def test_training_document_has_every_option():
    text = (ROOT / "docs" / "training.md").read_text()
    flags = flags_of(tool("train")["make_parser"]()) - {"-h", "--help"}
    flags = {flag.replace("--no-", "--", 1) for flag in flags}  # --no-x is documented with --x
    assert not {flag for flag in flags if not re.search(rf"{flag}(?![\w-])", text)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_flags_exist(document):
    sources = "".join(path.read_text() for path in (ROOT / "mutualformer_sod" / "cli").glob("*.py"))
    known = flags_of(tool("train")["make_parser"]()) | flags_of(torchrun_parser())
    known |= set(re.findall(r'"(--[a-z][a-z-]*)"', sources))
    scripts = "".join(path.read_text() for path in (ROOT / "tools").glob("*.sh"))
    known |= set(re.findall(r'" = (--[a-z-]+) ]', scripts))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+[a-z]", document.read_text()))
    assert not named - known


@pytest.mark.parametrize("document", NOTES, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_module_paths_exist(document):
    text = document.read_text()
    named = set(re.findall(r"(?<![\w/])(?:mutualformer_sod|tests|tools)/[\w/.-]*\w", text))
    packages = "|".join(path.name for path in (ROOT / "mutualformer_sod").iterdir())
    short = set(re.findall(rf"(?<![\w/.-])(?:{packages})/\w[\w/]*\.py", text))
    assert not {path for path in named if not (ROOT / path).exists()}
    assert not short, "write the path from the root: mutualformer_sod/..."
    for dotted in set(re.findall(r"\bmutualformer_sod(?:\.\w+)+", text)):
        module, _, name = dotted.rpartition(".")
        exists = (ROOT / dotted.replace(".", "/")).exists()
        exists |= (ROOT / f"{dotted.replace('.', '/')}.py").exists()
        assert exists or hasattr(import_module(module), name), dotted


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_python_code_imports_existing_names(document):
    for code in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.M | re.S):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("mutualformer_sod"):
                module = import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_measures_document_lists_the_default_columns():
    text = (ROOT / "docs" / "measures.md").read_text().partition("## More metrics")[0]
    listed = re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`.*?) \|", text, re.M)))
    default = [column.title for column in COLUMNS.values() if column.in_table]
    assert sorted(listed) == sorted(default)


@pytest.mark.parametrize("document", READMES, ids=lambda path: path.name)
def test_readme_has_at_most_200_lines(document):
    assert len(document.read_text().splitlines()) <= 200


def test_readme_tree_has_every_folder_of_the_package():
    tree = READMES[0].read_text()
    folders = [path.parent.name for path in (ROOT / "mutualformer_sod").glob("*/__init__.py")]
    assert not [name for name in folders if f"\n      {name}/ " not in tree]


@pytest.mark.parametrize(
    "pattern",
    [
        r"\.\d{3}(?: / \.\d{3})?",  # scores
        r"\]\(([^)#\s]+)",
        r"^    (?:[A-Z]+=\S+ )?((?:bash|python) .*?)(?:  |$)",
        r"mutualformer_sod/[\w/.]+",
        r"^      (\w+(?:/|\.py))",
    ],
    ids=["scores", "links", "commands", "paths", "tree"],
)
def test_chinese_readme_has_the_content_of_the_english_one(pattern):
    english, chinese = (
        [x.rstrip() for x in re.findall(pattern, path.read_text(), re.M) if "README" not in x]
        for path in READMES
    )
    assert english
    assert sorted(english) == sorted(chinese)


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the flags at the start of the lines of --help."""
    heads = re.findall(r"^  (-\S.*?)(?:  |$)", parser.format_help(), re.M)
    return {flag for head in heads for flag in re.findall(r"(?:^|, )(--?[\w-]+)", head)}


def test_model_document_has_the_parameter_counts_of_a_block():
    from mutualformer_sod.models import MutualFormerBlock

    text = (ROOT / "docs" / "model.md").read_text()
    vectors = [int(count) for count in re.findall(r"`24 C\^2 \+ (\d+) C`", text)]
    dim, counts = 16, []
    for options in ({}, {"qkv_bias": False}):
        parameters = MutualFormerBlock(dim, 2, **options).parameters()
        counts.append((sum(p.numel() for p in parameters) - 24 * dim**2) // dim)
    assert vectors == counts
