"""Sample scenes: the same everywhere, and solvable only with the modality that their kind names."""

import hashlib
import json
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest

from mutualformer_sod.data.synthetic.scenes import (
    KINDS,
    Scene,
    make_scene,
    scene_stem,
    write_samples,
)
from mutualformer_sod.errors import InputError

SIZE = (120, 160)


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    drawn = [make_scene(21, index, SIZE) for index in range(240)]
    return {kind: [scene for scene in drawn if scene.kind == kind] for kind in KINDS}


def digest(scene: Scene) -> str:
    arrays = (scene.rgb, scene.depth, scene.gt, scene.regions)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, "90fa8a3d9b8f261c988ad7b3d57d569730e669561958d69d0119a1cac62b7d71"),
        (1, "78f3d2f414a436ba033f3d075f3847ef0de6e4aef740b9107871ad0c6518e573"),
        (2, "4754db4025a2ab72baffec36ebf5eb068725c884bd13d54c19533284fb62f5df"),
    ],
)
def test_scene_is_the_same_on_every_machine(index, expected):
    assert digest(make_scene(1, index)) == expected


def test_scene_does_not_depend_on_those_drawn_before_it():
    alone = digest(make_scene(4, 7, SIZE))
    make_scene(4, 6, SIZE)
    assert digest(make_scene(4, 7, SIZE)) == alone


def test_seed_and_index_both_change_the_scene():
    assert len({digest(make_scene(*key, SIZE)) for key in [(0, 0), (0, 3), (1, 0), (3, 0)]}) == 4


def test_scene_arrays_have_the_documented_types():
    scene = make_scene(0, 0, (96, 130))
    assert (scene.rgb.shape, scene.rgb.dtype) == ((96, 130, 3), np.uint8)
    assert (scene.depth.shape, scene.depth.dtype) == ((96, 130), np.uint8)
    assert (scene.gt.shape, scene.gt.dtype) == ((96, 130), np.bool_)


def test_third_of_the_scenes_is_of_each_kind(scenes):
    assert {kind: len(group) for kind, group in scenes.items()} == dict.fromkeys(KINDS, 80)


def test_object_covers_3_to_35_percent(scenes):
    shares = [scene.gt.mean() for group in scenes.values() for scene in group]
    assert min(shares) >= 0.03
    assert max(shares) <= 0.35


def test_each_scene_has_one_object_and_two_to_four_distractors(scenes):
    for scene in (scene for group in scenes.values() for scene in group):
        assert len(np.unique(scene.regions[scene.gt])) == 1
        assert 3 <= scene.regions.max() <= 5
        assert not (scene.gt & (scene.regions == 0)).any()


def test_object_is_of_any_place_and_number_among_the_regions(scenes):
    ranks = Counter(int(s.regions[s.gt][0]) for group in scenes.values() for s in group)
    assert all(40 <= ranks[number] <= 90 for number in (1, 2, 3))


def contrast(image: np.ndarray, scene: Scene) -> np.ndarray:
    """Difference of each region's mean from that of the background around it."""
    image = image.reshape(*image.shape[:2], -1).astype(float)
    found = []
    for number in range(1, scene.regions.max() + 1):
        mask = scene.regions == number
        around = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) > 0
        ring = around & (scene.regions == 0)
        found.append(np.abs(image[mask].mean(axis=0) - image[ring].mean(axis=0)).sum())
    return np.array(found)


def found_by(statistic, group: list[Scene]) -> float:
    """Share of scenes in which the object is where the statistic is highest; ties count shared."""
    hits = 0.0
    for scene in group:
        values = statistic(scene)
        best = values == values.max()
        hits += best[scene.regions[scene.gt][0] - 1] / best.sum()
    return hits / len(group)


def in_rgb(scene):
    return contrast(scene.rgb, scene)


def in_depth(scene):
    return contrast(scene.depth, scene)


@pytest.mark.parametrize(
    ("statistic", "kind"),
    [(in_depth, "depth"), (in_rgb, "colour"), (in_depth, "either"), (in_rgb, "either")],
)
def test_modality_that_the_kind_names_shows_the_object(scenes, statistic, kind):
    assert found_by(statistic, scenes[kind]) > 0.97


@pytest.mark.parametrize(("statistic", "kind"), [(in_rgb, "depth"), (in_depth, "colour")])
def test_other_modality_does_no_better_than_guessing(scenes, statistic, kind):
    chance = np.mean([1 / scene.regions.max() for scene in scenes[kind]])
    assert abs(found_by(statistic, scenes[kind]) - chance) < 0.15  # three standard errors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shortcut", ["area", "row", "column", "centrality"])
def test_size_and_place_do_not_give_the_object_away(scenes, kind, sign, shortcut):
    def statistic(scene):
        values = []
        for number in range(1, scene.regions.max() + 1):
            rows, columns = np.nonzero(scene.regions == number)
            row, column = rows.mean() - SIZE[0] / 2, columns.mean() - SIZE[1] / 2
            centrality = -np.hypot(row, column)
            values.append(
                {"area": len(rows), "row": row, "column": column, "centrality": centrality}[
                    shortcut
                ]
            )
        return sign * np.array(values)

    assert found_by(statistic, scenes[kind]) < 0.45


def test_seeds_must_not_be_negative():
    with pytest.raises(InputError, match="negative"):
        make_scene(-1, 0)


def test_scenes_too_small_for_their_regions_are_refused():
    with pytest.raises(InputError, match="64x64"):
        make_scene(0, 0, (32, 200))


def test_written_files_contain_the_scene(tmp_path):
    root = write_samples(tmp_path, 4, 2, size=SIZE)
    scene, stem = make_scene(2, 3, SIZE), scene_stem(3)
    assert stem == "scene_00003_depth"
    rgb = cv2.imread(str(root / "RGB" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    depth = cv2.imread(str(root / "depth" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
    gt = cv2.imread(str(root / "GT" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(rgb, scene.rgb)
    np.testing.assert_array_equal(depth, scene.depth)
    np.testing.assert_array_equal(gt, scene.gt * np.uint8(255))


def test_interrupted_set_is_completed(tmp_path):
    root = write_samples(tmp_path, 3, 2, size=SIZE)
    lost = root / "GT" / f"{scene_stem(1)}.png"
    lost.unlink()
    write_samples(tmp_path, 3, 2, size=SIZE)
    assert lost.exists()


@pytest.mark.parametrize("other", [{"seed": 3, "count": 3}, {"seed": 2, "count": 4}])
def test_another_set_is_not_overwritten_without_the_flag(tmp_path, other):
    root = write_samples(tmp_path, 3, 2, size=SIZE)
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    with pytest.raises(InputError, match="`overwrite`"):
        write_samples(tmp_path, **other, size=SIZE)
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before


def test_foreign_files_in_the_folder_are_not_overwritten(tmp_path):
    (tmp_path / "SAMPLES" / "RGB").mkdir(parents=True)
    with pytest.raises(InputError, match="`overwrite`"):
        write_samples(tmp_path, 3, 2, size=SIZE)


def test_overwrite_leaves_exactly_the_new_set(tmp_path):
    write_samples(tmp_path, 5, 2, size=SIZE)
    root = write_samples(tmp_path, 2, 3, size=SIZE, overwrite=True)
    assert sorted(path.stem for path in (root / "depth").iterdir()) == [
        scene_stem(0),
        scene_stem(1),
    ]
    assert json.loads((root / "samples.json").read_text())["seed"] == 3


def run_tool(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "tools/make_samples.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_tool_writes_a_set(tmp_path):
    done = run_tool("--output", str(tmp_path), "--count", "2", "--seed", "1", "--size", "64", "80")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "SAMPLES" / "RGB").iterdir())) == 2


def test_tool_reports_a_mistake_in_one_line(tmp_path):
    done = run_tool("--output", str(tmp_path), "--count", "0", "--seed", "1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--count 0" in done.stderr


def test_making_scenes_does_not_import_torch():
    code = "import sys, mutualformer_sod.data.synthetic.scenes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
