"""What a look through data sets finds: files, counts, sizes, masks, depth, copies."""

import io
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer_sod.data.audit.check import QUICK_IMAGES, check_data
from mutualformer_sod.data.audit.copies import similar_pairs
from mutualformer_sod.data.audit.findings import Finding
from mutualformer_sod.data.audit.images import check_counts
from mutualformer_sod.data.audit.inspection import describe_picture
from mutualformer_sod.data.audit.picture import polarity_picture
from mutualformer_sod.data.audit.report import check_json, check_table, layout_line
from mutualformer_sod.errors import InputError

HEIGHT, WIDTH = 48, 64


def picture(seed: int) -> np.ndarray:
    """Smooth colours, like a photograph out of focus; no two seeds look alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (WIDTH * 2, HEIGHT * 2), interpolation=cv2.INTER_CUBIC)[::2, ::2]


def floor(seed: int) -> np.ndarray:
    """8-bit depth, near = white at the bottom."""
    noise = np.random.default_rng(seed).normal(0, 8, (HEIGHT, WIDTH))
    return np.clip(np.linspace(20, 230, HEIGHT)[:, None] + noise, 1, 254).astype(np.uint8)


def mask() -> np.ndarray:
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[10:30, 20:40] = 255
    return image


def make_set(folder, seeds=range(4), depth=floor):
    for role in ("RGB", "depth", "GT"):
        (folder / role).mkdir(parents=True)
    for seed in seeds:
        save(folder / "RGB" / f"{seed}.png", picture(seed))
        save(folder / "depth" / f"{seed}.png", depth(seed))
        save(folder / "GT" / f"{seed}.png", mask())
    return folder


def save(path, image):
    assert cv2.imwrite(str(path), image)


def kinds(check, level="problem"):
    return sorted(finding.kind for finding in check.findings if finding.level == level)


def the(check, kind) -> Finding:
    (finding,) = [finding for finding in check.findings if finding.kind == kind]
    return finding


def test_check_data_clean_set_has_no_findings(tmp_path):
    make_set(tmp_path / "mine")
    check = check_data([tmp_path])
    assert check.findings == []
    (checked,) = check.sets
    assert (checked.count, checked.depth.encoding.near) == (4, "white")


# Files


def test_files_without_partner_and_twins_are_named_not_refused(tmp_path):
    folder = make_set(tmp_path / "mine")
    (folder / "depth" / "0.png").unlink()
    save(folder / "GT" / "9.png", mask())
    save(folder / "RGB" / "1.bmp", picture(1))
    check = check_data([tmp_path])
    lines = [finding.line() for finding in check.problems]
    assert any("RGB without depth: 0.png; add" in line for line in lines)
    assert any("GT without RGB: 9.png; add" in line for line in lines)
    assert any("two RGB files for one image: 1.bmp / 1.png" in line for line in lines)
    assert check.sets[0].count == 3


@pytest.mark.parametrize("role", ["RGB", "depth", "GT"])
def test_unreadable_file_is_named_with_its_reason(tmp_path, role):
    folder = make_set(tmp_path / "mine")
    path = folder / role / "2.png"
    path.write_bytes(path.read_bytes()[:-40])
    finding = the(check_data([tmp_path]), "unreadable")
    assert finding.files == (str(path),)
    assert "replace it by an intact copy" in finding.line()


def test_hidden_images_are_noted(tmp_path):
    folder = make_set(tmp_path / "S")
    first = sorted((folder / "RGB").iterdir())[0]
    (folder / "RGB" / f"._{first.name}").write_bytes(b"x")
    finding = the(check_data([tmp_path]), "hidden")
    assert (finding.level, finding.files) == ("note", (f"._{first.name}",))


def test_types_that_are_not_read_and_broken_links_are_named(tmp_path):
    folder = make_set(tmp_path / "mine")
    (folder / "RGB" / "x.webp").write_bytes(b"x")
    (folder / "GT" / "y.png").symlink_to(tmp_path / "nowhere")
    assert kinds(check_data([tmp_path])) == ["broken", "type"]


def test_many_findings_of_a_kind_are_summed_up(tmp_path):
    folder = make_set(tmp_path / "mine", range(8))
    for seed in range(8):
        save(folder / "GT" / f"{seed}.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    finding = the(check_data([tmp_path]), "empty gt")
    assert len(finding.files) == 8
    assert finding.line().count(".png") == 3
    assert "... (8 in all)" in finding.line()


# Counts and names


@pytest.mark.parametrize(
    ("name", "part", "count", "words"),
    [
        ("NJU2K", "test", 498, "498 images (a variant that circulates), papers report 500"),
        ("NJU2K", "train", 1400, "1400 images, papers train on 1485"),
        ("a/STERE", "test", 797, "the subset STERE797"),
        ("RGBD_for_train", "train", 2185, "merged training images of NJU2K + NLPR"),
    ],
)
def test_counts_are_compared_with_the_usual_ones(name, part, count, words):
    (finding,) = check_counts(name, name, part, count)
    assert words in finding.text


@pytest.mark.parametrize(
    ("name", "part", "count"),
    [("NJU2K", "test", 500), ("NJU2K", "train", 1485), ("SSD", "test", 80), ("mine", None, 7)],
)
def test_usual_counts_need_no_remark(name, part, count):
    assert check_counts(name, name, part, count) == []


def make_thermal(folder, seeds=range(4)):
    make_set(folder, seeds)
    (folder / "depth").rename(folder / "T")
    for path in (folder / "T").iterdir():
        heat = cv2.applyColorMap(255 - floor(int(path.stem)), cv2.COLORMAP_INFERNO)
        save(path.with_suffix(".jpg"), heat)
        path.unlink()
    return folder


def test_coloured_thermal_images_are_no_problem_and_no_depth(tmp_path):
    make_thermal(tmp_path / "VT5000_part")
    check = check_data([tmp_path])
    assert check.findings == []
    table = check_table(check)
    assert "thermal" in table.splitlines()[0]
    assert "depth" not in table + layout_line(check.sets[0]) + json.dumps(check_json(check))


def test_missing_thermal_images_are_one_problem(tmp_path):
    folder = make_thermal(tmp_path / "mine")
    for stem in (0, 2):
        (folder / "T" / f"{stem}.jpg").unlink()
    (finding,) = check_data([tmp_path]).findings
    assert finding.text == "RGB without thermal"


def test_one_cause_is_one_problem_whatever_the_numbers(tmp_path):
    make_set(tmp_path / "mine")
    for seed in range(4):  # each with another spread of the channels
        depth = np.dstack([floor(seed)] * 3)
        depth[5:20, 5:20, 0] = 40 + 20 * seed
        save(tmp_path / "mine" / "depth" / f"{seed}.png", depth)
    (finding,) = check_data([tmp_path]).findings
    assert len(finding.files) == 4
    assert "colour-coded depth" in finding.text


def test_check_data_alias_and_its_layout_are_reported(tmp_path):
    make_set(tmp_path / "NJUD")
    (tmp_path / "NJUD" / "RGB").rename(tmp_path / "NJUD" / "Images")
    (checked,) = check_data([tmp_path]).sets
    assert (checked.label, checked.found.path) == ("NJU2K", "NJUD")
    assert checked.layout["rgb"] == "Images"


def test_both_parts_of_a_set_are_looked_at(tmp_path):
    make_set(tmp_path / "train" / "X", range(4))
    make_set(tmp_path / "test" / "X", range(4, 8))
    labels = {checked.label: checked.part for checked in check_data([tmp_path]).sets}
    assert labels == {"X (train)": "train", "X (test)": "test"}


def test_check_data_name_with_blank_is_not_compared_with_a_known_set(tmp_path):
    make_set(tmp_path / "NJU2K copy")
    check = check_data([tmp_path])
    assert check.findings == []
    assert check.sets[0].usual is None
    assert "found as" not in layout_line(check.sets[0])


def test_one_name_in_two_folders_is_a_problem(tmp_path):
    make_set(tmp_path / "a" / "SIP", range(4))
    make_set(tmp_path / "b" / "SIP", range(4, 8))
    assert "twice" in kinds(check_data([tmp_path / "a", tmp_path / "b"]))


def test_unknown_set_is_refused_with_those_that_are_there(tmp_path):
    make_set(tmp_path / "mine")
    with pytest.raises(InputError, match=r"--sets DES: no such set .*found: mine"):
        check_data([tmp_path], ["DES"])


# Sizes and masks


def test_check_data_masks_and_depth_of_another_size_are_separate_findings(tmp_path):
    folder = make_set(tmp_path / "mine")
    save(folder / "GT" / "0.png", mask()[::2, ::2])
    save(folder / "depth" / "1.png", floor(1)[::2, ::2])
    save(folder / "depth" / "2.png", floor(2)[:, ::2])
    check = check_data([tmp_path])
    sizes = {f.text: (f.level, f.files) for f in check.findings if f.kind == "size"}
    assert [(level, files[0][-9:]) for level, files in sizes.values()] == [
        ("problem", "/GT/0.png"),
        ("problem", "pth/2.png"),
        ("note", "pth/1.png"),
    ]


def test_unusual_empty_and_full_masks_are_named(tmp_path):
    folder = make_set(tmp_path / "mine")
    save(folder / "GT" / "0.png", mask() // 255)
    save(folder / "GT" / "1.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    save(folder / "GT" / "2.png", cv2.GaussianBlur(mask(), (3, 3), 0))
    check = check_data([tmp_path])
    assert kinds(check) == ["full gt"]
    assert kinds(check, "note") == ["gt values", "gt values"]
    assert check.sets[0].images[0].gt_note == "values 0 and 1, foreground = 1"


# Depth


def test_constant_maps_and_mixed_types_are_named(tmp_path):
    folder = make_set(tmp_path / "mine", range(6))
    save(folder / "depth" / "0.png", np.full((HEIGHT, WIDTH), 7, np.uint8))
    save(folder / "depth" / "1.png", floor(1).astype(np.uint16) * 257)
    check = check_data([tmp_path])
    assert kinds(check) == ["constant depth", "depth types"]
    assert check.sets[0].depth.types == {"uint8": 5, "uint16": 1}


def test_check_data_constant_metric_depth_is_named(tmp_path):
    make_set(tmp_path / "mine", depth=lambda seed: 3000 - 10 * floor(seed).astype(np.uint16))
    one_value = np.full((HEIGHT, WIDTH), 700, np.uint16)
    one_value[:9] = 0
    save(tmp_path / "mine" / "depth" / "0.png", one_value)
    assert the(check_data([tmp_path]), "constant depth").files[0].endswith("0.png")


def test_depth_of_two_values_and_of_zeros_is_noted(tmp_path):
    make_set(tmp_path / "mine", range(6))
    save(tmp_path / "mine" / "depth" / "0.png", mask())
    depth = floor(1)
    depth[: HEIGHT * 2 // 3] = 0
    save(tmp_path / "mine" / "depth" / "1.png", depth)
    check = check_data([tmp_path])
    assert kinds(check) == []
    assert the(check, "two values").files[0].endswith("0.png")
    assert the(check, "zeros").files[0].endswith("1.png")


def test_check_data_map_with_values_only_beside_its_sample_has_no_evidence(tmp_path):
    def millimetres(seed):
        depth = np.zeros((480, 640), np.uint16)
        depth[0, :2] = 1000, 1200  # between the rows that are sampled
        if seed:
            depth[:] = np.linspace(3000, 500, 480)[:, None]
        return depth

    make_set(tmp_path / "mine", depth=millimetres)
    (checked,) = check_data([tmp_path]).sets
    assert [image.sample.stem for image in checked.depth.images] == ["1", "2", "3"]
    assert check_json(check_data([tmp_path]))["sets"][0]["depth"]["near"] == "black"


def test_check_data_metric_depth_is_reported_with_its_range_and_holes(tmp_path):
    def millimetres(seed):
        depth = 3000 - 10 * floor(seed).astype(np.uint16)
        depth[:24, :32] = 0
        depth[0, 40] = 65535
        return depth

    make_set(tmp_path / "mine", depth=millimetres)
    (checked,) = check_data([tmp_path]).sets
    assert checked.depth.encoding.kind == "metric"
    assert checked.depth.encoding.holes == pytest.approx(0.25, abs=0.01)
    assert 400 < checked.depth.range[0] < checked.depth.range[1] < 3000


def test_weak_polarity_is_a_problem_and_strict_stops(tmp_path):
    def noise(seed):
        return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)

    make_set(tmp_path / "mine", depth=noise)
    assert "--near mine=white or =black" in the(check_data([tmp_path]), "polarity").line()
    with pytest.raises(InputError, match=r"mine: .*WEAK"):
        check_data([tmp_path], near=["strict"])


def test_near_in_the_remedy_names_a_set_with_a_blank(tmp_path):
    make_set(tmp_path / "My Set")
    problem = the(check_data([tmp_path], near=["black"]), "polarity").line()
    assert "--near 'My Set'=white or =black" in problem
    assert check_data([tmp_path], near=["My Set=white"]).findings == []


def test_near_in_the_remedy_names_both_parts_of_a_set(tmp_path):
    make_set(tmp_path / "train" / "X", range(4))
    make_set(tmp_path / "test" / "X", range(4, 8))
    problems = check_data([tmp_path], near=["black"]).problems
    assert [p.set for p in problems] == ["X (test)", "X (train)"]
    assert all("--near X=white or =black" in p.line() for p in problems)
    assert check_data([tmp_path], near=["X=white"]).findings == []


def test_wrong_near_is_contradicted(tmp_path):
    make_set(tmp_path / "mine")
    check = check_data([tmp_path], near=["mine=black"])
    assert "by --near, black is near, but the maps look as if white" in the(check, "polarity").text
    assert check_data([tmp_path], near=["mine=white"]).findings == []


def in_millimetres(seed):
    return floor(seed).astype(np.uint16) * 99 + 50


@pytest.mark.parametrize("count", [1, 4])
def test_maps_that_contradict_their_type_are_a_problem(tmp_path, count):
    make_set(tmp_path / "mine", range(count), depth=in_millimetres)
    check = check_data([tmp_path])
    assert "look as if" in the(check, "polarity").line()
    assert "--near mine=white or =black" in the(check, "polarity").line()
    assert check.sets[0].depth.encoding.near == ("black" if count == 1 else "white")
    with pytest.raises(InputError, match="mine: 16-bit millimetres by the type"):
        check_data([tmp_path], near=["strict"])


def test_inverted_map_among_others_is_noted(tmp_path):
    def one_inverted(seed):
        return 255 - floor(seed) if seed == 3 else floor(seed)

    make_set(tmp_path / "mine", range(8), depth=one_inverted)
    finding = the(check_data([tmp_path]), "polarity")
    assert (finding.level, len(finding.files)) == ("note", 1)
    assert finding.files[0].endswith("3.png")


def test_maps_of_both_signs_are_named(tmp_path):
    def half_inverted(seed):
        return 255 - floor(seed) if seed < 3 else floor(seed)

    make_set(tmp_path / "mine", range(7), depth=half_inverted)
    weak, both = (f for f in check_data([tmp_path]).findings if f.kind == "polarity")
    assert "weak evidence" in weak.text
    assert "mixed polarity" in both.text
    assert sorted(Path(file).stem for file in both.files) == ["0", "1", "2"]


# Copies


def test_training_images_in_a_test_set_are_found_encoded_anew_too(tmp_path):
    train = make_set(tmp_path / "train" / "A", range(6))
    test = make_set(tmp_path / "test" / "B", range(10, 14))
    (test / "RGB" / "10.png").write_bytes((train / "RGB" / "0.png").read_bytes())
    smaller = cv2.resize(picture(1), (WIDTH - 8, HEIGHT - 6), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(test / "RGB" / "11.jpg"), smaller, [cv2.IMWRITE_JPEG_QUALITY, 80])
    (test / "RGB" / "11.png").unlink()
    overlaps = [f for f in check_data([tmp_path]).problems if f.kind == "overlap"]
    assert [len(finding.files) for finding in overlaps] == [1, 1]
    assert "the same file" in overlaps[0].text
    assert "re-encoded" in overlaps[1].text
    assert overlaps[1].files[0].endswith("11.jpg")
    assert "A/RGB/1.png = " in overlaps[1].files[0]


def test_copies_in_a_set_are_a_problem_only_if_the_file_is_the_same(tmp_path):
    folder = make_set(tmp_path / "mine")
    (folder / "RGB" / "3.png").write_bytes((folder / "RGB" / "0.png").read_bytes())
    save(folder / "RGB" / "2.png", np.clip(picture(1).astype(int) + 2, 0, 255))
    check = check_data([tmp_path])
    assert kinds(check) == kinds(check, "note") == ["copies"]


def test_one_folder_under_two_roots_is_no_copy(tmp_path):
    make_set(tmp_path / "a" / "mine")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").symlink_to(tmp_path / "a" / "mine")
    assert check_data([tmp_path / "a", tmp_path / "b"]).findings == []


def test_pictures_of_one_shade_pair_with_none():
    plain = [
        describe_picture(np.full((HEIGHT, WIDTH, 3), shade, np.uint8)) for shade in (9, 90, 200)
    ]
    assert list(similar_pairs(plain)) == []


def test_other_pictures_pair_with_none():
    assert list(similar_pairs([describe_picture(picture(seed)) for seed in range(60)])) == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_search_of_copies_shows_its_progress_on_a_terminal(monkeypatch):
    descriptors = [describe_picture(picture(seed)) for seed in range(3)]
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(similar_pairs(descriptors)) == []
    assert "searching copies:   0%|          | 0/3" in sys.stderr.getvalue()


# What comes out


def test_processes_find_the_same_as_one(tmp_path):
    folder = make_set(tmp_path / "mine", range(40))
    (folder / "GT" / "7.png").write_bytes(b"")
    one, two = check_data([tmp_path]), check_data([tmp_path], workers=2)
    assert check_json(one) == check_json(two)


def test_quick_reads_some_images_and_counts_all(tmp_path):
    folder = make_set(tmp_path / "mine", range(QUICK_IMAGES + 10))
    (folder / "RGB" / "3.png").write_bytes((folder / "RGB" / "0.png").read_bytes())
    check = check_data([tmp_path], quick=True)
    assert check.findings == []
    assert (check.sets[0].count, len(check.sets[0].images)) == (QUICK_IMAGES + 10, QUICK_IMAGES)


def test_check_data_table_and_json_contain_the_decision(tmp_path):
    make_set(tmp_path / "mine")
    check = check_data([tmp_path])
    line = check_table(check).splitlines()[1]
    assert line.split()[0] == "mine"
    assert "white" in line
    depth = check_json(check)["sets"][0]["depth"]
    assert depth["near"] == "white"
    assert set(depth["evidence"]["images"]) == {"0", "1", "2", "3"}


def test_picture_shows_near_as_bright(tmp_path):
    make_set(tmp_path / "white")
    make_set(tmp_path / "black", range(10, 14), depth=lambda seed: 255 - floor(seed))
    for checked in check_data([tmp_path]).sets:
        image = polarity_picture(checked)
        depth = image[image.shape[0] - 148 - 130 - 4 : image.shape[0] - 148 - 4, :170]
        assert depth[-30:].mean() > depth[:30].mean() + 60


def test_near_without_depth_is_refused(tmp_path):
    make_set(tmp_path / "mine")
    shutil.rmtree(tmp_path / "mine" / "depth")
    with pytest.raises(InputError, match="--near white has no effect: no set has depth"):
        check_data([tmp_path], near=["white"])
