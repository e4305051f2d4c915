"""The folder of a method's maps: settings, and maps that are still to make."""

import json

import pytest

from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.inference.map_output import MapOutput

SETTINGS = {"size": 64, "near": {"A": "white"}}


@pytest.fixture
def images(tmp_path):
    rgb = [tmp_path / f"{stem}.jpg" for stem in "xyz"]
    return SodSet("A", tmp_path, tuple(Sample(path.stem, path, None, None) for path in rgb))


@pytest.fixture
def begun(tmp_path):
    """A folder with two of three maps."""
    folder = tmp_path / "maps"
    MapOutput(folder, SETTINGS, overwrite=False).begin()
    (folder / "A").mkdir()
    for stem in "xy":
        (folder / "A" / f"{stem}.png").write_bytes(b"map")
    return folder


def missing(folder, images, settings=SETTINGS, overwrite=False):
    todo = MapOutput(folder, settings, overwrite).missing(images)
    return [sample.stem for sample in todo.samples]


def test_map_output_with_the_same_settings_keeps_its_maps(begun, images):
    assert missing(begun, images) == ["z"]


def test_map_output_with_the_depth_record_of_an_older_version_keeps_its_maps(begun, images):
    record = json.loads((begun / "run.json").read_text())
    older = {"kind": "map", "near": "white", "low": 0.0, "high": 255.0, "hole_code": None}
    (begun / "run.json").write_text(json.dumps(record | {"depth": {"A": older}}))
    assert missing(begun, images) == ["z"]


@pytest.mark.parametrize("damage", [{"sets": None}, {"sets": []}, {"to_replace": 3}])
def test_map_output_with_a_damaged_record_is_refused(begun, damage):
    record = json.loads((begun / "run.json").read_text())
    (begun / "run.json").write_text(json.dumps(record | damage))
    with pytest.raises(InputError, match=r"unknown origin \(unreadable run\.json\)"):
        MapOutput(begun, SETTINGS, overwrite=False)


def test_map_output_with_other_settings_is_refused_unless_overwritten(begun, images):
    other = SETTINGS | {"size": 96, "near": {"A": "black"}}
    with pytest.raises(InputError, match=r"values of size, `near`\. Fix: pass another `output`"):
        MapOutput(begun, other, overwrite=False)
    MapOutput(begun, other, overwrite=True).begin()
    assert missing(begun, images, other) == ["x", "y", "z"]  # the run was interrupted


def test_map_output_of_another_set_keeps_the_polarity_of_the_first(begun):
    MapOutput(begun, SETTINGS | {"near": {"B": "black"}}, overwrite=False).begin()
    near = json.loads((begun / "run.json").read_text())["near"]
    assert near == {"A": "white", "B": "black"}
