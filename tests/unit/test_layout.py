"""Set discovery and pairing, on folders of empty files: nothing here reads an image."""

from pathlib import Path

import pytest

from mutualformer_sod.data.discovery.benchmarks import TRAINING_PROTOCOLS, canonical_name
from mutualformer_sod.data.discovery.folders import name_of_set
from mutualformer_sod.data.discovery.layout import LAYOUTS, Layout, Part, register_layout
from mutualformer_sod.data.discovery.protocols import discover_benchmarks, discover_protocol
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.errors import InputError


def make_set(folder: Path, stems="ab", parts=("RGB", "depth", "GT"), suffix=".png") -> Path:
    for part in parts:
        (folder / part).mkdir(parents=True, exist_ok=True)
        for stem in stems:
            (folder / part / f"{stem}{suffix}").touch()
    return folder


def names_of(*args, **kwargs) -> list[str]:
    return [found.name for found in discover_sets(*args, **kwargs)]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("NJUD", "NJU2K"),
        ("nju2000", "NJU2K"),
        ("STEREO", "STERE"),
        ("STEREO1000", "STERE"),
        ("STERE797", "STERE797"),
        ("RGBD135", "DES"),
        ("RGBD-135", "DES"),
        ("SSD80", "SSD"),
        ("SSD100", "SSD"),
        ("DUT", "DUT-RGBD"),
        ("DUTLF-Depth", "DUT-RGBD"),
        ("DUTLF-D", "DUT-RGBD"),
        ("my_own", "my_own"),
    ],
)
def test_canonicalname_of_set_alias_is_the_usual_name(alias, name):
    assert canonical_name(alias) == name


@pytest.mark.parametrize("rgb", ["RGB", "rgb", "Images", "images", "image", "img", "Imgs"])
@pytest.mark.parametrize("gt", ["GT", "gt", "Masks", "mask", "ground_truth", "groundtruth"])
def test_discover_sets_folder_names_of_the_field_are_found(tmp_path, rgb, gt):
    make_set(tmp_path / "SIP", parts=(rgb, "Depth", gt))
    (found,) = discover_sets([tmp_path])
    assert found.samples[0].rgb == tmp_path / "SIP" / rgb / "a.png"
    assert found.samples[0].gt == tmp_path / "SIP" / gt / "a.png"
    assert found.has_depth


@pytest.mark.parametrize(
    "path", ["NJUD", "test/NJUD", "NJUD/testset", "RGBD_for_test/NJUD", "testset/NJUD/test"]
)
def test_discover_sets_levels_are_no_part_of_the_name(tmp_path, path):
    make_set(tmp_path / path)
    assert names_of([tmp_path]) == ["NJU2K"]


def test_discover_sets_split_folders_give_both_splits(tmp_path):
    make_set(tmp_path / "DUT", "ab", ("train_images", "train_depth", "train_masks"))
    make_set(tmp_path / "DUT", "cde", ("test_images", "test_depth", "test_masks"))
    (test,) = discover_sets([tmp_path])
    (train,) = discover_sets([tmp_path], split="train")
    assert (test.name, len(test.samples), test.usual_count) == ("DUT-RGBD", 3, 400)
    assert (train.name, len(train.samples), train.usual_count) == ("DUT-RGBD", 2, 800)


def test_discover_sets_split_leaves_out_the_other_level(tmp_path):
    make_set(tmp_path / "RGBD_for_train")
    make_set(tmp_path / "RGBD_for_test/NLPR")
    make_set(tmp_path / "RGBD_for_test/SIP")
    assert names_of([tmp_path]) == ["NLPR", "SIP"]
    assert names_of([tmp_path], split="train") == ["RGBD_for_train"]
    assert names_of([tmp_path], ["RGBD_for_train"]) == ["RGBD_for_train"]  # by path, on purpose


def test_discover_sets_root_is_a_set_is_found(tmp_path):
    make_set(tmp_path / "STEREO")
    (found,) = discover_sets([tmp_path / "STEREO"])
    assert (found.name, found.usual_count) == ("STERE", 1000)


def testname_of_set_root_of_the_file_system_is_its_own():
    assert name_of_set(Path("/test"), ()) == "test"


def test_discover_sets_custom_set_is_named_by_path(tmp_path):
    make_set(tmp_path / "train_rgbd/HOTS")
    make_set(tmp_path / "spot/RGBD135")
    assert names_of([tmp_path]) == ["spot/RGBD135", "train_rgbd/HOTS"]
    assert names_of([tmp_path], ["HOTS", "DES"]) == ["train_rgbd/HOTS", "spot/RGBD135"]
    assert names_of([tmp_path], ["train_rgbd/HOTS"]) == ["train_rgbd/HOTS"]
    assert discover_sets([tmp_path])[0].usual_count == 135
    assert discover_sets([tmp_path])[1].usual_count is None


def test_discover_sets_several_roots_are_searched(tmp_path):
    make_set(tmp_path / "a/NJU2K")
    make_set(tmp_path / "b/NLPR")
    assert names_of([tmp_path / "a", tmp_path / "b"]) == ["NJU2K", "NLPR"]


def test_discover_sets_folder_below_two_roots_is_one_set(tmp_path):
    make_set(tmp_path / "a/NJU2K")
    assert names_of([tmp_path / "a", tmp_path / "a/NJU2K"]) == ["NJU2K"]


def test_discover_sets_one_name_for_two_folders_is_refused(tmp_path):
    make_set(tmp_path / "a/NJU2K")
    make_set(tmp_path / "b/NJUD")
    make_set(tmp_path / "b/SIP")
    roots = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(InputError, match=r"a/NJU2K.*b/NJUD"):
        discover_sets(roots)
    with pytest.raises(InputError, match=r"a/NJU2K.*b/NJUD"):
        discover_sets(roots, ["NJU2K"])
    assert names_of(roots, ["SIP"]) == ["SIP"]


def test_discover_sets_unknown_name_lists_the_found_sets(tmp_path):
    make_set(tmp_path / "NLPR")
    with pytest.raises(InputError, match=r"'NJU2K'.*found: NLPR"):
        discover_sets([tmp_path], ["NJU2K"])


def test_discover_sets_missing_root_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        discover_sets([tmp_path / "nowhere"])


def test_discover_sets_without_sets_describes_the_layout(tmp_path):
    with pytest.raises(InputError, match=r"no data set below .*<set>/RGB"):
        discover_sets([tmp_path])


def test_discover_sets_of_folders_with_other_names_lists_them(tmp_path):
    make_set(tmp_path / "mine", parts=("Colour", "Tiefe", "Labels"))
    with pytest.raises(InputError, match="pictures are in mine/Colour, mine/Labels, mine/Tiefe"):
        discover_sets([tmp_path])


def test_discover_sets_ground_truth_alone_is_a_set(tmp_path):
    make_set(tmp_path / "SOD60", parts=("GT",))
    (found,) = discover_sets([tmp_path], need_gt=True)
    assert (found.has_rgb, found.has_depth, found.has_gt) == (False, False, True)
    with pytest.raises(InputError, match=r"SOD60: the set has no folder of colour images"):
        discover_sets([tmp_path], need_rgb=True)


def test_discover_sets_missing_ground_truth_is_refused_if_needed(tmp_path):
    make_set(tmp_path / "X", parts=("RGB",))
    (found,) = discover_sets([tmp_path])
    assert not found.has_gt
    assert not found.has_depth
    with pytest.raises(InputError, match=r"X: the set has no folder of ground truth"):
        discover_sets([tmp_path], need_gt=True)


def test_samples_are_paired_by_stem_and_sorted(tmp_path):
    make_set(tmp_path / "X", ("b", "a", "c.1"), ("RGB",), ".JPG")
    make_set(tmp_path / "X", ("c.1", "a", "b"), ("depth",), ".npy")
    make_set(tmp_path / "X", ("a", "b", "c.1"), ("GT",), ".bmp")
    (found,) = discover_sets([tmp_path])
    assert [t.stem for t in found.samples] == ["a", "b", "c.1"]
    for t in found.samples:
        assert (t.rgb.name, t.depth.name, t.gt.name) == (
            f"{t.stem}.JPG",
            f"{t.stem}.npy",
            f"{t.stem}.bmp",
        )


def test_samples_endings_of_the_kind_are_ignored(tmp_path):
    make_set(tmp_path / "X", ("a_rgb", "b_rgb"), ("RGB",))
    make_set(tmp_path / "X", ("a_Depth", "b_Depth"), ("depth",))
    make_set(tmp_path / "X", ("a", "b"), ("GT",))
    (found,) = discover_sets([tmp_path])
    assert [t.stem for t in found.samples] == ["a_rgb", "b_rgb"]
    assert [t.depth.name for t in found.samples] == ["a_Depth.png", "b_Depth.png"]
    assert [t.gt.name for t in found.samples] == ["a.png", "b.png"]


def test_samples_exact_stem_is_preferred(tmp_path):
    make_set(tmp_path / "X", ("a", "a_d"))
    (found,) = discover_sets([tmp_path])
    assert [(t.stem, t.depth.stem, t.gt.stem) for t in found.samples] == [
        ("a", "a", "a"),
        ("a_d", "a_d", "a_d"),
    ]


def test_samples_files_without_partner_are_named(tmp_path):
    make_set(tmp_path / "X", "abc", ("RGB",))
    make_set(tmp_path / "X", "bc", ("depth",))
    make_set(tmp_path / "X", "abcz", ("GT",))
    with pytest.raises(InputError) as caught:
        discover_sets([tmp_path])
    assert "RGB without depth: a.png" in str(caught.value)
    assert "GT without RGB: z.png" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_files_without_partner_are_counted(tmp_path):
    stems = [f"{i:03}" for i in range(50)]
    make_set(tmp_path / "X", stems, ("RGB",))
    make_set(tmp_path / "X", stems[40:], ("GT",))
    with pytest.raises(InputError, match=r"000\.png, .*009\.png, \.\.\. \(40 in all\)"):
        discover_sets([tmp_path])


def test_two_files_for_one_stem_are_named(tmp_path):
    make_set(tmp_path / "X")
    (tmp_path / "X/GT/a.bmp").touch()
    with pytest.raises(InputError, match=r"GT: two GT files for one image: a\.bmp / a\.png"):
        discover_sets([tmp_path])


def test_two_folders_for_one_role_are_named(tmp_path):
    make_set(tmp_path / "X", parts=("RGB", "GT", "masks"))
    with pytest.raises(InputError, match=r"several folders for gt: GT, masks"):
        discover_sets([tmp_path])


def test_samples_unsupported_file_types_are_named(tmp_path):
    make_set(tmp_path / "X")
    (tmp_path / "X/RGB/c.webp").touch()
    with pytest.raises(InputError, match=r"not read as RGB: c\.webp"):
        discover_sets([tmp_path])


def test_notes_and_hidden_files_are_no_part_of_a_set(tmp_path):
    make_set(tmp_path / "X")
    for name in ("readme.txt", ".DS_Store", "Thumbs.db"):
        (tmp_path / "X/RGB" / name).touch()
    assert len(discover_sets([tmp_path])[0].samples) == 2


@pytest.mark.parametrize("kind", ["broken link", "link to itself", "folder"])
def test_samples_broken_link_or_folder_is_named(tmp_path, kind):
    folder = make_set(tmp_path / "A")
    for part in ("RGB", "depth", "GT"):  # in all parts, so that no file lacks a partner
        path = folder / part / "c.png"
        target = path if kind == "link to itself" else tmp_path / "nowhere.png"
        path.mkdir() if kind == "folder" else path.symlink_to(target)
    with pytest.raises(InputError, match=r"RGB: broken links .*RGB files: c\.png"):
        discover_sets([tmp_path])


def test_discover_sets_link_to_a_folder_above_is_ignored(tmp_path):
    make_set(tmp_path / "test" / "NJU2K")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert names_of([tmp_path]) == ["NJU2K"]


def test_discover_sets_broken_depth_folder_is_refused(tmp_path):
    folder = make_set(tmp_path / "A", parts=("RGB", "GT"))
    (folder / "depth").symlink_to(tmp_path / "not_mounted")
    with pytest.raises(InputError, match=r"A/depth: .*broken link"):
        discover_sets([tmp_path])


def test_empty_folders_are_refused(tmp_path):
    make_set(tmp_path / "X", "")
    with pytest.raises(InputError, match=r"X: the set's folders contain no image"):
        discover_sets([tmp_path])


def test_protocol_totals_are_their_names():
    assert sum(TRAINING_PROTOCOLS["2185"].values()) == 2185
    assert sum(TRAINING_PROTOCOLS["2985"].values()) == 2985


@pytest.fixture
def small_protocol(monkeypatch):
    monkeypatch.setitem(TRAINING_PROTOCOLS, "2985", {"NJU2K": 3, "NLPR": 2, "DUT-RGBD": 4})


def test_protocol_takes_its_training_sets(tmp_path, small_protocol):
    make_set(tmp_path / "NJUD/trainset", "abc")
    make_set(tmp_path / "NJUD/testset", "x")
    make_set(tmp_path / "train/NLPR", "de")
    make_set(tmp_path / "DUT", "fghi", ("train_images", "train_depth", "train_masks"))
    found = discover_protocol([tmp_path], "2985")
    assert [(s.name, len(s.samples)) for s in found] == [
        ("NJU2K", 3),
        ("NLPR", 2),
        ("DUT-RGBD", 4),
    ]


def test_protocol_accepts_merged_folders(tmp_path, small_protocol):
    make_set(tmp_path / "a/RGBD_for_train", "abcdefghi")
    make_set(tmp_path / "b/RGBD_for_train", "abcde")
    make_set(tmp_path / "b/DUT", "fghi")
    assert [len(s.samples) for s in discover_protocol([tmp_path / "a"], "2985")] == [9]
    assert [len(s.samples) for s in discover_protocol([tmp_path / "b"], "2985")] == [4, 5]


def test_protocol_refuses_another_number_of_images(tmp_path, small_protocol):
    make_set(tmp_path / "NJUD", "ab")
    make_set(tmp_path / "NLPR", "de")
    make_set(tmp_path / "DUT", "fghi")
    with pytest.raises(InputError, match=r"NJUD: 2 images, but protocol 2985 uses 3 of NJU2K"):
        discover_protocol([tmp_path], "2985")


def test_protocol_names_the_sets_it_lacks(tmp_path, small_protocol):
    make_set(tmp_path / "NJUD", "abc")
    with pytest.raises(
        InputError, match=r"not found below .*: NLPR, DUT-RGBD\. Fix: add them; found: NJU2K"
    ):
        discover_protocol([tmp_path], "2985")


def test_discovery_reports_the_mistakes_of_all_sets_at_once(tmp_path):
    (make_set(tmp_path / "A") / "depth" / "a.png").unlink()
    (make_set(tmp_path / "B") / "GT" / "b.jpg").touch()
    (make_set(tmp_path / "C") / "RGB" / "notes.docx").touch()
    (tmp_path / "C" / "depth" / "b.png").unlink()
    with pytest.raises(InputError) as refused:
        discover_sets([tmp_path])
    for words in (
        "A: RGB without depth",
        "B/GT: two GT files",
        "notes.docx",
        "C: RGB without depth",
    ):
        assert words in str(refused.value)


def test_discovery_reports_all_missing_folders_at_once(tmp_path):
    make_set(tmp_path / "A")
    with pytest.raises(InputError, match=r"none: no such folder.*nowhere: no such folder"):
        discover_sets([tmp_path / "none", tmp_path, tmp_path / "nowhere"])


def test_discovery_reports_all_unknown_names_at_once(tmp_path):
    make_set(tmp_path / "A")
    with pytest.raises(InputError, match=r"'X'.*'Y'"):
        discover_sets([tmp_path], ["X", "A", "Y"])


# Thermal images


@pytest.mark.parametrize(
    ("name", "folder", "modality"),
    [
        ("VT5000", "T", "thermal"),
        ("mine", "thermal", "thermal"),
        ("VT821", "depth", "thermal"),
        ("VT1000-Test", "Depth", "thermal"),
        ("mine", "depth", "depth"),
        ("NJU2K", "Depth", "depth"),
    ],
)
def test_modality_of_folder_or_set_name_is_detected(tmp_path, name, folder, modality):
    make_set(tmp_path / name, parts=("RGB", folder, "GT"))
    (found,) = discover_sets([tmp_path])
    assert found.modality.name == found.samples[0].modality.name == modality


def test_samples_missing_thermal_image_is_named_thermal(tmp_path):
    make_set(tmp_path / "VT5000", parts=("RGB", "T", "GT"))
    (tmp_path / "VT5000" / "T" / "a.png").unlink()
    with pytest.raises(InputError, match=r"RGB without thermal: a\.png"):
        discover_sets([tmp_path])


@pytest.mark.parametrize("folder", ["T", "depth"])
def test_discover_sets_without_depth_ignores_its_folder(tmp_path, folder):
    make_set(tmp_path / "mine", parts=("RGB", folder, "GT"))
    (tmp_path / "mine" / folder / "a.png").unlink()
    (tmp_path / "mine" / folder / "b.mat").touch()
    (found,) = discover_sets([tmp_path], with_depth=False)
    assert not found.has_depth
    assert [sample.stem for sample in found.samples] == ["a", "b"]


# A layout from outside the package


@pytest.fixture
def flat_files():
    @register_layout
    class FlatFiles(Layout):
        """``<set>/a.jpg``, ``<set>/a-depth.png``, ``<set>/a-gt.png``: all roles in one folder."""

        name = "flat files"

        def find(self, folder, folders, files):
            has_gt = any(Path(name).stem.endswith("-gt") for name in files)
            return [Part(None, dict.fromkeys(("rgb", "depth", "gt"), (folder,)))] if has_gt else []

        def stem(self, role, path):
            stem, _, kind = path.stem.partition("-")
            return stem if (kind or "rgb") == role else None

    yield
    del LAYOUTS["flat files"]


def test_registered_layout_is_searched_beside_the_others(tmp_path, flat_files):
    make_set(tmp_path / "SIP")
    mine = make_set(tmp_path / "mine", ("b", "a"), ("",), ".jpg")
    make_set(tmp_path / "mine", ("a-depth", "a-gt", "b-depth", "b-gt"), ("",))
    (mine / "readme.txt").touch()
    sip, found = discover_sets([tmp_path], ["SIP", "mine"])
    assert [sample.stem for sample in sip.samples] == ["a", "b"]
    first, second = found.samples
    assert (first.rgb, first.depth) == (mine / "a.jpg", mine / "a-depth.png")
    assert (second.stem, second.gt) == ("b", mine / "b-gt.png")
    (mine / "b-depth.png").unlink()
    with pytest.raises(InputError, match=r"mine: .*RGB without depth: b\.jpg"):
        discover_sets([tmp_path])


def test_registered_layout_gives_the_images_of_a_benchmark(tmp_path, flat_files):
    make_set(tmp_path / "NLPR", "ab", ("",), ".jpg")
    make_set(tmp_path / "NLPR", ("a-gt", "b-gt", "a-depth"), ("",))
    (found,) = discover_benchmarks([tmp_path])
    assert [sample.stem for sample in found.samples] == ["a", "b"]


def test_layout_name_is_registered_once():
    with pytest.raises(ValueError, match="registered already"):
        register_layout(type(next(iter(LAYOUTS.values()))))
