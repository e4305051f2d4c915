"""Output folders: foreign files are refused, records are compared, one process at a time."""

import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.output_folder import OutputFolder, changed


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(tmp_path / "out", "run.json", "run")


def test_refuse_foreign_new_or_empty_folder_is_accepted(folder):
    folder.refuse_foreign()
    with folder.locked():
        folder.refuse_foreign()  # the lock file is no content


def test_refuse_foreign_half_written_record_of_a_killed_process_is_accepted(folder):
    folder.path.mkdir()
    (folder.path / ".run.77.tmp.json").touch()
    folder.refuse_foreign()
    (folder.path / "notes.txt").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        folder.refuse_foreign()


def test_refuse_foreign_other_files_are_refused_until_there_is_a_record(folder):
    folder.path.mkdir()
    (folder.path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"`output` .*out: is not an empty folder, .*it\. Fix: "):
        folder.refuse_foreign()
    folder.write({})
    folder.refuse_foreign()


def test_refuse_foreign_file_is_refused(folder):
    folder.path.touch()
    with pytest.raises(InputError, match="no run in it"):
        folder.refuse_foreign()


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[]", b'{"near": []}', b"{}"])
def test_read_damaged_record_gives_none(folder, content):
    folder.path.mkdir()
    folder.record_file.write_bytes(content)
    assert folder.read(near=dict) is None


def test_read_whole_record_is_returned(folder):
    folder.write({"near": {"A": "white"}, "size": (1, 2)})
    assert folder.read(near=dict, size=list) == {"near": {"A": "white"}, "size": [1, 2]}


def test_locked_second_process_is_refused(folder):
    with (
        folder.locked(),
        pytest.raises(InputError, match="in use by another process"),
        folder.locked(),
    ):
        pass


def test_changed_compares_the_settings_of_now_as_json():
    before = {"size": [1, 2], "amp": "off", "device": "cpu"}
    assert changed(before, {"size": (1, 2), "amp": "bf16", "near": {}}) == ["amp", "near"]


def test_claim_with_the_same_settings_continues_and_with_others_is_refused(folder):
    folder.claim({"weights": "a", "amp": "off"})
    folder.claim({"weights": "a", "amp": "off"})
    problem = r"`output` .*out: the value of weights differs from .* in the existing run\. Fix: "
    with pytest.raises(InputError, match=problem):
        folder.claim({"weights": "b", "amp": "off"})


def test_claim_of_a_folder_with_files_of_unknown_origin_is_refused(folder):
    folder.path.mkdir()
    (folder.path / "a.png").touch()
    with pytest.raises(InputError, match="no run in it"):
        folder.claim({})
