"""`--help` of every command: no import of torch, and the names of all fusion methods."""

import subprocess
import sys

from mutualformer_sod.configs.fusion import fusion_methods, fusion_options

HELP = """
import contextlib, importlib, io, sys
from mutualformer_sod.cli.commands import COMMANDS
slow = ("torch", "torchvision", "timm", "matplotlib", "scipy", "gradio", "fastapi")
for name in COMMANDS:
    sys.argv = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        importlib.import_module(f"mutualformer_sod.cli.{name.replace('-', '_')}").main()
    print(name, *(module for module in slow if module in sys.modules))
"""
NAMES = """
import sys
from mutualformer_sod.configs.fusion_names import fusion_names, fusion_option_names
print(*fusion_names())
print(*sorted(fusion_option_names()))
print("torch" in sys.modules)
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_help_of_every_command_imports_no_slow_library():
    lines = run(HELP)
    assert len(lines) > 20
    assert [line for line in lines if " " in line] == []


def test_fusion_names_without_torch_are_those_of_the_registry():
    names, options, has_torch = run(NAMES)
    assert names.split() == list(fusion_methods())
    assert options.split() == sorted(fusion_options())
    assert has_torch == "False"
