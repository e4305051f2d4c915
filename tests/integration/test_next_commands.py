"""The last line of a command is the next useful command: it can be copied, and its flags exist."""

import argparse
import contextlib
import importlib
import io
import shlex
import shutil
import sys
from unittest import mock

import pytest
from tool_runs import ROOT, run_tool, train_small

from mutualformer_sod.cli import train
from mutualformer_sod.cli.commands import COMMANDS
from mutualformer_sod.cli.next_step import option, suggest
from mutualformer_sod.configs.recipes import make_train_config

TINY = ROOT / "weights" / "mutualformer_tiny.safetensors"
ON_CPU = ("--device", "cpu", "--workers", 0, "--writers", 0)


class ParsedError(Exception):
    """The parser has accepted the flags."""


def next_words(done):
    """The words of the only `Next:` line, which is the last one."""
    assert done.status in (0, 1), done.error
    lines = done.error.splitlines()
    assert [line for line in lines if line.startswith("Next: ")] == [lines[-1]]
    return shlex.split(lines[-1].removeprefix("Next: "))


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, []), (False, []), ([], []), (True, ["-x"]), (0, ["-x", 0]), ([1, 0], ["-x", 1, 0])],
)
def test_option_with_value_0_keeps_it(value, words):
    assert option("-x", value) == words


def parse(words):
    """Parse a printed command with its real parser; return the command and the arguments."""
    start = next(i for i, word in enumerate(words) if word.endswith(".py"))
    name, arguments = words[start].rpartition("/")[2].removesuffix(".py"), words[start + 1 :]
    assert name.replace("_", "-") in COMMANDS
    original = argparse.ArgumentParser.parse_args

    def parse_only(self, *given, **options):
        raise ParsedError(original(self, *given, **options))

    with (
        mock.patch("sys.argv", [name, *arguments]),
        mock.patch.object(argparse.ArgumentParser, "parse_args", parse_only),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as error,
    ):
        try:
            importlib.import_module(f"mutualformer_sod.cli.{name}").main()
        except ParsedError:
            return name, arguments
        except SystemExit as end:
            assert end.code == 0, error.getvalue()  # --help
            return name, arguments
    raise AssertionError(words)


def follow(words, *more):
    """Run a printed command with further flags."""
    name, arguments = parse(words)
    return run_tool(name, *arguments, *more)


@pytest.fixture
def there(tmp_path, monkeypatch):
    """An empty working directory: printed commands have relative names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_next_commands_lead_from_samples_to_a_figure(there):
    done = run_tool("make_samples", "--output", "my data", "--count", 4)
    done = follow(next_words(done), "--quick", "--workers", 1)
    words = next_words(done)
    assert words[1].endswith("test.py")
    done = follow(words, "--weights", TINY, *ON_CPU)
    done = follow(next_words(done), "--workers", 1)
    done = follow(next_words(done), "--workers", 1)
    assert (there / "outputs" / "scores" / "gallery" / "index.html").is_file()
    done = follow(next_words(done))
    assert (there / "outputs" / "figure.png").is_file()
    assert parse(next_words(done))[0] == "gallery"


def test_next_commands_of_baselines_and_packs_are_accepted(there, scenes):
    done = run_tool("baselines", "--data", scenes, "--methods", "centre", "--output", "base")
    assert parse(next_words(done))[0] == "evaluate"
    pack = ("--data", scenes, "--sets", "SAMPLES", "--side", 32, "--output", "pack")
    done = follow(next_words(run_tool("pack_data", *pack)))
    name, arguments = parse(next_words(done))
    assert (name, arguments[:4]) == ("train", ["--data", "data", "--train-sets", "SAMPLES"])


@pytest.mark.parametrize("arguments", [("weights", "list"), ("weights", "verify", "tiny")])
def test_next_commands_of_weights_are_accepted(arguments):
    assert parse(next_words(run_tool(*arguments)))[0] in ("weights", "demo")


def test_next_command_of_training_tests_the_new_weights(there, scenes):
    done = train_small(there / "run", scenes, "--epochs", 1)
    name, arguments = parse(next_words(done))
    assert name == "test"
    assert str(there / "run" / "weights.safetensors") in arguments


@pytest.fixture
def mixed(there, scenes):
    """A root with two test sets, of depth and of thermal images, and a training set."""
    for name, target in (("A", scenes / "SAMPLES"), ("train/B", scenes / "SAMPLES")):
        (there / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (there / "root" / name).symlink_to(target)
    thermal = there / "root" / "C-T"
    shutil.copytree(scenes / "SAMPLES", thermal)
    (thermal / "depth").rename(thermal / "T")
    return there / "root"


def next_of_training(capsys, monkeypatch, run_folder, data, modality="both"):
    monkeypatch.setattr("sys.argv", [str(ROOT / "tools" / "train.py")])
    config = make_train_config(None, data=(str(data),), output=str(run_folder), modality=modality)
    train.suggest_next(config)
    return shlex.split(capsys.readouterr().err.removeprefix("Next: "))


def test_next_command_of_training_names_the_sets_of_its_modality(
    capsys, monkeypatch, mixed, run_folder
):
    words = next_of_training(capsys, monkeypatch, run_folder, mixed)
    done = follow(words, *ON_CPU, "--limit", 2)
    assert done.status == 0, done.error
    assert len(list((mixed.parent / "outputs").rglob("A/*.png"))) == 2
    assert not list((mixed.parent / "outputs").rglob("C-T"))


@pytest.mark.parametrize(
    ("sets", "modality", "want"),
    [
        (["A"], "both", []),
        (["C-T"], "both", ["--modality", "rgb"]),
        (["A", "C-T"], "rgb", []),
    ],
)
def test_next_command_of_training_without_a_choice_of_sets(
    capsys, monkeypatch, mixed, run_folder, sets, modality, want
):
    for name in {"A", "C-T"} - set(sets):
        (mixed / name).rename(mixed.parent / name)
    words = next_of_training(capsys, monkeypatch, run_folder, mixed, modality)
    assert "--sets" not in words
    assert words[words.index(str(mixed)) + 1 : words.index("--weights")] == want


def test_next_command_of_training_without_a_test_set_maps_a_picture(
    capsys, monkeypatch, mixed, run_folder
):
    for name in ("A", "C-T"):
        (mixed / name).rename(mixed.parent / name)
    name, arguments = parse(next_of_training(capsys, monkeypatch, run_folder, mixed))
    assert (name, arguments[-1]) == ("predict", str(run_folder / "weights.safetensors"))


def test_next_command_keeps_the_way_of_starting(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["mutualformer-sod test"])
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr("sys.executable", "/bin/sh")
    suggest("evaluate", "--data", "a b")
    assert capsys.readouterr().err == "Next: mutualformer-sod evaluate --data 'a b'\n"


def test_next_command_is_printed_by_one_process(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    suggest("evaluate")
    assert capsys.readouterr().err == ""


# A photo without any flag


@pytest.fixture
def photo(there, scenes):
    shutil.copy(next((scenes / "SAMPLES" / "RGB").iterdir()), there / "my photo.png")
    return "my photo.png"


def test_predict_without_flags_writes_beside_the_working_directory_and_says_where(there, photo):
    done = run_tool("predict", photo, "--weights", TINY)
    assert done.status == 0, done.error
    assert "saliency/maps/my photo.png" in done.output
    assert (there / "saliency" / "maps" / "my photo.png").is_file()
    name, arguments = parse(next_words(done))
    assert name == "predict"
    assert {"my photo.png", "--overlay", "--cutout", str(TINY)} <= set(arguments)
    done = follow(next_words(done))
    assert (there / "saliency" / "cutouts" / "my photo.png").is_file()
    assert parse(next_words(done))[0] == "demo"


def test_predict_without_output_never_replaces_other_files(there, photo):
    own = there / "saliency" / "maps" / "my photo.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    for _ in range(2):
        done = run_tool("predict", photo, "--weights", TINY)
        assert "saliency-2/maps/my photo.png" in done.output
    assert own.read_bytes() == b"mine"
    assert not (there / "saliency-3").exists()


def test_predict_without_output_passes_over_a_file_of_that_name(there, photo):
    (there / "saliency").touch()
    assert "saliency-2/maps" in run_tool("predict", photo, "--weights", TINY).output


def test_next_command_of_predict_keeps_the_flags_that_decide_the_files(there, photo):
    flags = ("--cutout", "--background", "white", "--crop", "--size", 160, "--amp", "off")
    done = run_tool("predict", photo, "--weights", TINY, "--output", "o", "--device", "cpu", *flags)
    before = (there / "o" / "cutouts" / "my photo.png").read_bytes()
    done = follow(next_words(done))
    assert done.status == 0, done.error
    assert (there / "o" / "overlays" / "my photo.png").is_file()
    assert (there / "o" / "cutouts" / "my photo.png").read_bytes() == before


def test_predict_names_depth_that_lies_beside_the_picture(there, photo, scenes):
    shutil.copy(next((scenes / "SAMPLES" / "depth").iterdir()), there / "my photo_depth.png")
    done = run_tool("predict", photo, "--weights", TINY)
    words = next_words(done)
    assert parse(words)[1][:3] == ["my photo.png", "--depth", "my photo_depth.png"]
    assert "saliency-2/maps" in follow(words).output


def test_predict_with_pictures_twice_or_none_is_refused(there, photo):
    for arguments in ((photo, "--rgb", photo), (), ("--estimate-depth", photo)):
        done = run_tool("predict", *arguments)
        assert done.status == 2
        assert len(done.error.splitlines()) == 1


def test_next_command_line_has_the_interpreter_of_this_process(there):
    words = next_words(run_tool("weights"))
    assert words[0] in ("python", sys.executable)


def test_predict_where_every_picture_failed_suggests_nothing(there):
    (there / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    done = run_tool("predict", "broken.jpg", "--weights", TINY)
    assert done.status == 1
    assert "Next:" not in done.error
    assert done.output.splitlines()[-1] == "0 of 1 picture processed, RGB only"  # names no folder
