"""RGB-T sets in all command lines that read a second modality; generated scenes, one tiny run."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tool_runs import ROOT, error_line, run_tool, train_small

from mutualformer_sod.data.depth.encoding import depth_to_unit
from mutualformer_sod.data.modality import MODALITIES, Modality, register_modality
from mutualformer_sod.imaging.io import read_depth
from mutualformer_sod.inference.webm import open_webm
from mutualformer_sod.models.weights import read_metadata

SET = "SAMPLES-T"
DEPTH_WEIGHTS = ROOT / "weights" / "mutualformer_tiny.safetensors"
IMAGES = 12


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def train_thermal(output, root, *options):
    return train_small(output, root, "--train-sets", SET, "--epochs", 1, *options)


def run_test(root, output, *options):
    return run_tool(
        *("test", "--data", root, "--output", output, "--device", "cpu", "--workers", 0),
        *("--writers", 0, "--method", "m", *options),
    )


@pytest.fixture(scope="module")
def thermal_root(tmp_path_factory) -> Path:
    """A root with 12 generated RGB-T scenes, of the seed of the fixture ``scenes``."""
    root = tmp_path_factory.mktemp("thermal")
    options = ("--output", root, "--count", IMAGES, "--seed", 7, "--modality", "thermal")
    assert run_tool("make_samples", *options).status == 0
    return root


@pytest.fixture
def copy(tmp_path, thermal_root) -> Path:
    """A copy of the root that a test may change."""
    return Path(shutil.copytree(thermal_root, tmp_path / "data"))


@pytest.fixture(scope="module")
def thermal_run(tmp_path_factory, thermal_root):
    """A finished run on the scenes: its weights and its output."""
    folder = tmp_path_factory.mktemp("run") / "thermal"
    done = train_thermal(folder, thermal_root)
    assert done.status == 0, done.error
    return folder / "weights.safetensors", done.output + done.error


@pytest.fixture(scope="module")
def thermal_maps(tmp_path_factory, thermal_root, thermal_run):
    """Maps of all scenes by the weights of the run, and the output of the test."""
    folder = tmp_path_factory.mktemp("maps")
    done = run_test(thermal_root, folder, "--weights", thermal_run[0])
    assert done.status == 0, done.error
    return folder, done.output + done.error


def test_make_samples_thermal_shares_colour_and_masks_with_the_depth_scenes(thermal_root, scenes):
    assert sorted(p.name for p in (thermal_root / SET).iterdir()) == [
        *("GT", "RGB", "T", "samples.json")
    ]
    files = sorted((thermal_root / SET / "RGB").iterdir())
    assert [p.stem.rpartition("_")[2] for p in files[:3]] == ["thermal", "colour", "either"]
    for path in files:
        twin = path.name.replace("_thermal", "_depth")
        for role in ("RGB", "GT"):
            other = scenes / "SAMPLES" / role / twin
            assert (thermal_root / SET / role / path.name).read_bytes() == other.read_bytes()
        heat = read(thermal_root / SET / "T" / path.name)
        assert heat.shape == read(scenes / "SAMPLES" / "depth" / twin).shape
        assert heat.min() > 0  # no holes


def test_make_samples_thermal_shows_the_object_except_in_colour_scenes(thermal_root):
    for path in (thermal_root / SET / "T").iterdir():
        mask = read(thermal_root / SET / "GT" / path.name) > 0
        heat = read(path).astype(float)
        contrast = abs(heat[mask].mean() - heat[~mask].mean())
        assert (contrast > 25) == ("colour" not in path.stem), path.stem


def test_train_on_thermal_images_records_the_modality_and_asks_no_polarity(thermal_run):
    weights, output = thermal_run
    assert f"train {SET}: 9 images, 3 held out; thermal: brightness as stored" in output
    assert "depth" not in output
    assert "near" not in output
    config, protocol = read_metadata(weights)
    assert config.second_modality == "thermal"
    assert protocol["near"] == {SET: "none"}


def test_train_on_depth_writes_no_entry_for_the_modality(run_folder):
    config, _ = read_metadata(run_folder / "weights.safetensors")
    assert config.second_modality == "depth"
    assert "second_modality" not in config.to_dict()


def test_test_maps_thermal_images_and_names_no_depth(thermal_maps):
    folder, output = thermal_maps
    assert f"{SET}: thermal brightness as stored" in output
    assert "depth" not in output
    assert len(list((folder / "m" / SET).iterdir())) == IMAGES
    run = json.loads((folder / "m" / "run.json").read_text())
    assert run["config"]["second_modality"] == "thermal"
    assert list(run["thermal"]) == [SET]
    assert "depth" not in run


@pytest.mark.parametrize("sees", ["thermal", "depth"])
def test_test_of_weights_of_another_modality_is_refused(
    sees, thermal_root, scenes, thermal_run, tmp_path
):
    weights = thermal_run[0] if sees == "thermal" else DEPTH_WEIGHTS
    root = scenes if sees == "thermal" else thermal_root
    line = error_line(run_test(root, tmp_path / "o", "--weights", weights))
    assert f"was trained on {sees} maps" in line
    assert ("have depth maps" if sees == "thermal" else "have thermal images") in line
    assert "Fix: pass other weights or other --sets, or --modality rgb" in line
    assert not (tmp_path / "o").exists()


def test_test_of_colour_alone_accepts_weights_of_another_modality(copy, tmp_path):
    sorted((copy / SET / "T").iterdir())[1].unlink()
    options = ("--weights", DEPTH_WEIGHTS, "--modality", "rgb", "--limit", 2)
    done = run_test(copy, tmp_path / "o", *options)
    assert done.status == 0, done.error
    assert len(list((tmp_path / "o" / "m" / SET).iterdir())) == 2


@pytest.mark.parametrize("flag", ["depth", "thermal"])
def test_test_of_the_second_modality_alone_is_named_by_it(
    flag, thermal_root, thermal_run, tmp_path
):
    done = run_tool(
        *("test", "--data", thermal_root, "--weights", thermal_run[0], "--output", tmp_path),
        *("--modality", flag, "--limit", 1, "--workers", 0, "--device", "cpu"),
    )
    assert done.status == 0, done.error
    assert (tmp_path / "mutualformer_tiny-scratch_thermal" / SET).is_dir()


def test_modality_thermal_is_refused_on_depth(scenes, tmp_path):
    options = ("--weights", DEPTH_WEIGHTS, "--modality", "thermal")
    line = error_line(run_test(scenes, tmp_path / "o", *options))
    assert "--modality 'thermal' is not usable here. Fix: pass both, rgb or depth" in line
    done = train_small(tmp_path / "run", scenes, "--modality", "thermal")
    assert "--modality thermal: the second modality of this run is depth" in error_line(done)


def test_test_with_missing_thermal_image_is_refused(copy, thermal_run, tmp_path):
    sorted((copy / SET / "T").iterdir())[1].unlink()
    done = run_test(copy, tmp_path / "o", "--weights", thermal_run[0])
    assert "RGB without thermal" in error_line(done)


def test_test_of_a_monotone_palette_equals_its_grey_images(
    copy, thermal_run, thermal_maps, tmp_path
):
    for path in (copy / SET / "T").iterdir():
        cv2.imwrite(str(path), cv2.applyColorMap(read(path), cv2.COLORMAP_INFERNO))
    done = run_test(copy, tmp_path / "o", "--weights", thermal_run[0])
    assert done.status == 0, done.error
    for path in (tmp_path / "o" / "m" / SET).iterdir():
        grey = read(thermal_maps[0] / "m" / SET / path.name)
        assert cv2.norm(read(path), grey, cv2.NORM_L1) / grey.size < 2


def test_test_of_a_rainbow_palette_is_refused_by_name(copy, thermal_run, tmp_path):
    path = sorted((copy / SET / "T").iterdir())[0]
    levels = np.tile(np.linspace(0, 255, 320).astype(np.uint8), (240, 1))
    cv2.imwrite(str(path), cv2.applyColorMap(levels, cv2.COLORMAP_JET))
    line = error_line(run_test(copy, tmp_path / "o", "--weights", thermal_run[0]))
    assert str(path) in line
    assert "brightness does not show heat. Fix: save it in grey" in line


def test_evaluate_and_gallery_read_the_maps(thermal_root, thermal_maps, tmp_path):
    options = ("--data", thermal_root, "--maps", thermal_maps[0], "--workers", 1, "--output")
    done = run_tool("evaluate", *options, tmp_path / "scores")
    assert done.status == 0, done.error
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert set(scores["scores"]["m"]) == {SET}
    done = run_tool("gallery", *options, tmp_path / "page")
    assert done.status == 0, done.error
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count('"map_label":"thermal"') == IMAGES
    assert "near = bright" not in page


def test_evaluate_needs_no_thermal_images(copy, tmp_path):
    shutil.copytree(copy / SET / "GT", tmp_path / "maps" / "m" / SET)
    sorted((copy / SET / "T").iterdir())[1].unlink()
    options = ["--data", copy, "--maps", tmp_path / "maps", "--workers", 1]
    done = run_tool("evaluate", *options, "--output", tmp_path / "o")
    assert done.status == 0, done.error


def test_predict_with_a_thermal_folder_gives_the_maps_of_the_test(
    thermal_root, thermal_run, thermal_maps, tmp_path
):
    folder = thermal_root / SET
    options = ("--rgb", folder / "RGB", "--thermal", folder / "T", "--device", "cpu")
    done = run_tool("predict", *options, "--weights", thermal_run[0], "--output", tmp_path)
    assert done.status == 0, done.error
    assert "depth" not in done.output + done.error
    for path in (tmp_path / "maps").iterdir():
        assert np.array_equal(read(path), read(thermal_maps[0] / "m" / SET / path.name))


def test_predict_with_all_outputs_of_thermal_weights_does_not_lead_to_the_demo(
    thermal_root, thermal_run, tmp_path
):
    colour, thermal = (
        next((thermal_root / "SAMPLES-T" / role).glob("*_thermal.png")) for role in ("RGB", "T")
    )
    given = ("--rgb", colour, "--thermal", thermal, "--output", tmp_path / "o")
    weights = ("--weights", thermal_run[0])
    done = run_tool("predict", *given, *weights, "--overlay", "--cutout")
    assert done.status == 0, done.error
    assert "evaluate" in done.error.splitlines()[-1]


def test_predict_of_a_video_with_thermal_weights_is_from_colour_alone(
    thermal_root, thermal_run, tmp_path
):
    rgb = cv2.imread(str(next((thermal_root / SET / "RGB").iterdir())))[..., ::-1]
    with open_webm(tmp_path / "v.webm") as writer:
        writer.write(np.ascontiguousarray(rgb), 0)
    given = ("--video", tmp_path / "v.webm", "--weights", thermal_run[0], "--device", "cpu")
    done = run_tool("predict", *given, "--output", tmp_path / "o")
    assert done.status == 0, done.error
    assert "trained on thermal images; maps of a video are predicted from colour" in done.output
    assert (tmp_path / "o" / "v_map.webm").is_file()
    depth = ("--depth-video", tmp_path / "v.webm", "--output", tmp_path / "p")
    assert "Fix: leave --depth-video out" in error_line(run_tool("predict", *given, *depth))


def test_predict_without_thermal_images_gives_other_maps(thermal_root, thermal_run, thermal_maps):
    from mutualformer_sod import Predictor

    predictor = Predictor.from_weights(thermal_run[0], device="cpu")
    path = sorted((thermal_root / SET / "RGB").iterdir())[0]
    saliency = predictor.predict(read(path)[..., ::-1].copy())
    stored = read(thermal_maps[0] / "m" / SET / path.name)
    assert cv2.norm(np.rint(saliency * 255).astype(np.uint8), stored, cv2.NORM_INF) > 1


def test_predict_with_one_thermal_image_and_a_constant_one_reports_them(
    copy, thermal_run, tmp_path
):
    path = sorted((copy / SET / "T").iterdir())[0]
    cv2.imwrite(str(path), np.full((240, 320), 80, np.uint8))
    done = run_tool(
        *("predict", "--rgb", copy / SET / "RGB" / path.name, "--thermal", path, "--weights"),
        *(thermal_run[0], "--output", tmp_path / "o"),
    )
    assert done.status == 0, done.error
    assert "constant thermal: RGB only" in done.output


@pytest.mark.parametrize(
    ("weights", "flag", "folder", "problem"),
    [
        ("thermal", "--depth", "SAMPLES/depth", "were trained on thermal maps. Fix: leave --depth"),
        ("depth", "--thermal", "SAMPLES-T/T", "were trained on depth maps. Fix: leave --thermal"),
        ("depth", "--depth", "SAMPLES-T/T", "its set, indicates thermal images. Fix: "),
        ("thermal", "--thermal", "SAMPLES/depth", "its set, indicates depth maps. Fix: "),
    ],
)
def test_predict_of_another_modality_is_refused(
    weights, flag, folder, problem, thermal_root, scenes, thermal_run, tmp_path
):
    root = thermal_root if folder.startswith(SET) else scenes
    rgb = root / folder.partition("/")[0] / "RGB"
    options = ("--rgb", rgb, flag, root / folder, "--output", tmp_path / "o", "--weights")
    chosen = thermal_run[0] if weights == "thermal" else DEPTH_WEIGHTS
    assert problem in error_line(run_tool("predict", *options, chosen))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--near", "white"), "--near has no effect without depth"),
        (("--depth", "d"), "--depth and --thermal exclude each other"),
        (("--estimate-depth",), "--estimate-depth has no effect with --thermal"),
    ],
)
def test_predict_with_thermal_refuses_options_of_depth(options, problem, thermal_root, tmp_path):
    folder = thermal_root / SET
    given = ("--rgb", folder / "RGB", "--thermal", folder / "T", "--output", tmp_path / "o")
    assert problem in error_line(run_tool("predict", *given, *options))


def test_check_data_reports_thermal_images_without_polarity(thermal_root, tmp_path):
    done = run_tool("check_data", "--data", thermal_root, "--output", tmp_path, "--workers", 1)
    assert done.status == 0, done.error
    assert "thermal in T" in done.output
    assert "depth" not in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["check.json"]
    (entry,) = json.loads((tmp_path / "check.json").read_text())["sets"]
    assert entry["thermal"] == {"types": {"uint8": IMAGES}, "range": entry["thermal"]["range"]}


def test_pack_data_keeps_the_thermal_folder(thermal_root, tmp_path):
    options = ("--data", thermal_root, "--side", 96, "--output", tmp_path / "pack")
    done = run_tool("pack_data", *options)
    assert done.status == 0, done.error
    assert f"{SET}: {IMAGES} of {IMAGES} images, thermal" in done.output
    done = run_tool("pack_data", "--unpack", tmp_path / "pack", "--output", tmp_path / "sets")
    assert done.status == 0, done.error
    assert "WARNING" not in done.output
    assert len(list((tmp_path / "sets" / SET / "T").iterdir())) == IMAGES


def test_pseudo_label_copies_thermal_images_to_their_folder(thermal_root, tmp_path):
    maps = tmp_path / "maps" / SET
    shutil.copytree(thermal_root / SET / "GT", maps)
    done = run_tool(
        *("pseudo_label", "--data", thermal_root, "--sets", SET, "--maps", tmp_path / "maps"),
        *("--output", tmp_path / "o"),
    )
    assert done.status == 0, done.error
    assert sorted(p.name for p in (tmp_path / "o" / SET).iterdir()) == ["GT", "RGB", "T"]


def test_baselines_threshold_no_thermal_images(thermal_root, tmp_path):
    options = ["--data", thermal_root, "--methods", "depth_otsu", "--output", tmp_path / "o"]
    done = run_tool("baselines", *options)
    assert "skipped, because it has thermal images instead of depth" in done.output


@pytest.mark.parametrize(("tool", "extra"), [("demo", "gradio"), ("serve", "fastapi")])
def test_servers_of_depth_refuse_weights_of_thermal_images(tool, extra, thermal_run):
    pytest.importorskip(extra)
    line = error_line(run_tool(tool, "--weights", thermal_run[0], "--port", 0))
    assert "trained on thermal images, but the" in line
    assert "needs depth. Fix: use tools/predict.py" in line


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--paste", 0.5), "--paste: no effect on thermal images"),
        (("--invent-depth", 0.5), "--invent-depth: no effect on thermal images"),
        (("--near", "white"), f"--near white: {SET} has thermal images, which have no polarity"),
        (("--teacher", "tiny"), "--teacher tiny: was trained on depth maps"),
    ],
)
def test_train_on_thermal_images_refuses_options_of_depth(options, problem, thermal_root, tmp_path):
    assert problem in error_line(train_thermal(tmp_path / "run", thermal_root, *options))
    assert not (tmp_path / "run").exists()


def test_train_on_two_modalities_is_refused(copy, scenes, tmp_path):
    shutil.copytree(scenes / "SAMPLES", copy / "SAMPLES")
    done = train_small(tmp_path / "run", copy, "--train-sets", "SAMPLES", SET)
    assert f"SAMPLES has depth maps, {SET} has thermal images. Fix: pass sets of one" in error_line(
        done
    )


def test_train_fine_tunes_depth_weights_on_thermal_images_and_reports_it(
    thermal_root, run_folder, tmp_path
):
    weights = run_folder / "weights.safetensors"
    done = run_tool(
        *("train", "--data", thermal_root, "--train-sets", SET, "--output", tmp_path / "run"),
        *("--fine-tune", weights, "--epochs", 1, "--workers", 0, "--device", "cpu"),
        *("--paste", 0, "--batch-size", 4),
    )
    assert done.status == 0, done.error
    assert "trained on depth maps; this run continues with thermal images" in done.output
    config, _ = read_metadata(tmp_path / "run" / "weights.safetensors")
    assert config.second_modality == "thermal"


# A modality from outside the package


def read_inverted(path):
    """Read 8-bit maps that are stored inverted."""
    return 255 - read_depth(path)


def test_registered_modality_is_trained_and_mapped_and_unknown_without_its_package(copy, tmp_path):
    (copy / SET / "T").rename(copy / SET / "NIR")
    nir = Modality(
        *("nir", "near-infrared image", ("nir",), "NIR", read_inverted, depth_to_unit, False)
    )
    register_modality(nir)
    try:
        done = train_thermal(tmp_path / "run", copy)
        assert done.status == 0, done.error
        assert f"train {SET}: 9 images, 3 held out; nir: brightness as stored" in done.output
        weights = tmp_path / "run" / "weights.safetensors"
        assert read_metadata(weights)[0].second_modality == "nir"
        done = run_test(copy, tmp_path / "maps", "--weights", weights, "--limit", 1)
        assert done.status == 0, done.error
        assert f"{SET}: nir brightness as stored" in done.output
    finally:
        del MODALITIES["nir"]
    line = error_line(run_test(copy, tmp_path / "maps", "--weights", weights))
    assert "the modality 'nir' is unknown here" in line
