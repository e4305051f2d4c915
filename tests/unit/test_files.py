"""Files that appear whole or not at all, and errors of writing that name them."""

import errno

import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import check_writable, naming, replacing, write_json


def test_replacing_on_a_full_disk_names_the_file_and_keeps_the_old_one(tmp_path, full_disk):
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    with full_disk(), pytest.raises(OSError) as failed:
        write_json(path, {"a": 2, "b": [0] * 100})
    assert failed.value.filename == str(path)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == before


def test_replacing_without_a_right_to_write_names_the_file_not_its_temporary_name(tmp_path):
    path = tmp_path / "folder"
    (path / "something").mkdir(parents=True)
    with pytest.raises(OSError) as failed, replacing(path) as temporary:
        temporary.write_bytes(b"x")
    assert failed.value.filename == str(path)


def test_naming_leaves_an_error_that_names_another_file(tmp_path):
    other = tmp_path / "other"
    with pytest.raises(FileNotFoundError) as failed, naming(tmp_path / "output"):
        other.read_bytes()
    assert failed.value.filename == str(other)


def test_naming_keeps_the_kind_of_an_error(tmp_path):
    path = tmp_path / "output"
    with pytest.raises(OSError) as failed, naming(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (failed.value.errno, failed.value.filename) == (errno.ENOSPC, str(path))


def test_check_writable_passes_a_folder_that_is_not_there_and_leaves_nothing(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


def test_check_writable_refuses_a_place_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"`output` .*file.* cannot be written to"):
        check_writable(tmp_path / "file" / "b")
