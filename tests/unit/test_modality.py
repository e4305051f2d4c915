"""The second modalities: recognised by names, read, scaled and augmented; one from outside."""

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mutualformer_sod import Predictor, build_model
from mutualformer_sod.configs.model import ModelConfig, make_config
from mutualformer_sod.data.depth.encoding import DepthEncoding, GreyEncoding, depth_to_unit
from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.benchmarks import TRAINING_PROTOCOLS, usual_count
from mutualformer_sod.data.discovery.protocols import discover_benchmarks, discover_protocol
from mutualformer_sod.data.discovery.sets import (
    discover_sets,
    refuse_other_modality,
    second_modality,
)
from mutualformer_sod.data.modality import (
    DEPTH,
    MODALITIES,
    THERMAL,
    Modality,
    find_modality,
    modality_of,
    refuse_named_otherwise,
    register_modality,
)
from mutualformer_sod.data.sample import Sample, read_sample
from mutualformer_sod.data.synthetic.scenes import make_scene, write_samples
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.data.training.degradations import degrade
from mutualformer_sod.data.training.transforms import Augmentation
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_depth
from mutualformer_sod.imaging.thermal import ambiguous_ratio, read_thermal
from mutualformer_sod.models.weights import load_weights, save_weights

SMALL = {
    "feature_blocks": [1, 2],
    "dim": 32,
    "decoder_width": 16,
    "detail_width": 8,
    "image_size": 32,
}
GREY = GreyEncoding("thermal")
MONOTONE = ("HOT", "INFERNO", "MAGMA", "PLASMA", "VIRIDIS", "BONE")
AMBIGUOUS = ("JET", "RAINBOW", "TURBO", "HSV")


def heat_image() -> np.ndarray:
    """A smooth thermal image over all levels, (120, 160) uint8."""
    rows, columns = np.mgrid[0:120, 0:160]
    heat = columns / 159 + 0.3 * np.sin(rows / 20)
    return np.rint(255 * (heat - heat.min()) / np.ptp(heat)).astype(np.uint8)


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def make_set(folder: Path, names: dict[str, str], stems=("1", "2")) -> None:
    """A set of empty files; ``names`` maps folders to suffixes."""
    for part, suffix in names.items():
        (folder / part).mkdir(parents=True)
        for stem in stems:
            (folder / part / f"{stem}{suffix}").touch()


# Names


@pytest.mark.parametrize(
    ("folder", "set_name", "name"),
    [
        ("T", "mine", "thermal"),
        ("Thermal", "mine", "thermal"),
        ("depth", "mine", "depth"),
        ("depth", "VT821", "thermal"),
        ("Depth", "VT5000_clear", "thermal"),
        ("other", "mine", "depth"),
    ],
)
def test_modality_of_names_prefers_the_known_set(folder, set_name, name):
    assert modality_of([folder], set_name).name == name


@pytest.mark.parametrize(
    ("folder", "modality", "is_refused"),
    [
        ("VT821/T", DEPTH, True),
        ("mine/T", DEPTH, True),
        ("mine/thermal", DEPTH, True),
        ("VT1000/maps", DEPTH, True),
        ("mine/t", DEPTH, False),
        ("mine/maps", THERMAL, False),
        ("mine/depth", THERMAL, True),
        ("VT821/depth", THERMAL, False),
    ],
)
def test_refuse_named_otherwise_names_the_other_flag(folder, modality, is_refused):
    if not is_refused:
        refuse_named_otherwise(Path(folder), modality)
        return
    with pytest.raises(InputError, match=r"indicates .*\. Fix: pass the folder as"):
        refuse_named_otherwise(Path(folder), modality)


def test_find_modality_unknown_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'sonar' is unknown here; the known ones are depth"):
        find_modality("sonar")


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"name": "depth"}, "name 'depth'"), ({"folders": ("t",)}, "folder 't'")],
)
def test_register_modality_with_a_taken_name_is_refused(change, problem):
    with pytest.raises(ValueError, match=f"the {problem} is registered already"):
        register_modality(replace(DEPTH, **{"name": "new", "folders": ("new",)} | change))
    assert list(MODALITIES) == ["depth", "thermal"]


def test_modality_pickled_for_a_worker_is_equal():
    assert pickle.loads(pickle.dumps(THERMAL)) == THERMAL != DEPTH


# Sets of the field

JPG_PNG = {"RGB": ".jpg", "T": ".jpg", "GT": ".png"}


@pytest.mark.parametrize(
    "path", ["VT5000/{}", "VT5000/VT5000_clear/{}", "RGBT/VT5000-{}", "VT5000_{}", "{}/VT5000"]
)
def test_vt2500_finds_both_parts_of_vt5000_in_the_usual_layouts(tmp_path, monkeypatch, path):
    monkeypatch.setitem(TRAINING_PROTOCOLS, "vt2500", {"VT5000": 2})
    make_set(tmp_path / path.format("Train"), JPG_PNG)
    make_set(tmp_path / path.format("Test"), JPG_PNG, ("3", "4", "5"))
    make_set(tmp_path / "VT821", {"RGB": ".jpg", "thermal": ".jpg", "GT": ".jpg"})
    make_set(tmp_path / "VT1000" / "VT1000", {"RGB": ".jpg", "T": ".bmp", "GT": ".jpg"})
    (train,) = discover_protocol([tmp_path], "vt2500")
    assert [sample.stem for sample in train.samples] == ["1", "2"]
    assert train.modality == THERMAL
    tests = discover_sets([tmp_path], ["VT821", "VT1000", "VT5000"])
    assert [len(item.samples) for item in tests] == [2, 2, 3]
    assert second_modality(tests) == THERMAL
    assert [len(s.samples) for s in discover_benchmarks([tmp_path]) if "5000" in s.name] == [3]


def test_vt2500_is_not_found_in_a_merged_folder_of_depth(tmp_path, monkeypatch):
    monkeypatch.setitem(TRAINING_PROTOCOLS, "vt2500", {"VT5000": 2})
    make_set(tmp_path / "train" / "merged", {"RGB": ".jpg", "depth": ".png", "GT": ".png"})
    with pytest.raises(InputError, match="not found below"):
        discover_protocol([tmp_path], "vt2500")
    (tmp_path / "train" / "merged" / "depth").rename(tmp_path / "train" / "merged" / "T")
    assert len(discover_protocol([tmp_path], "vt2500")[0].samples) == 2


def test_usual_counts_of_rgbt_sets_are_those_of_the_papers():
    tests = {name: usual_count(name, "test") for name in ("VT821", "VT1000", "VT5000")}
    assert tests == {"VT821": 821, "VT1000": 1000, "VT5000": 2500}
    assert usual_count("VT5000", "train") == TRAINING_PROTOCOLS["vt2500"]["VT5000"] == 2500


def test_training_part_as_the_root_is_no_test_set(tmp_path, monkeypatch):
    root = tmp_path / "VT5000" / "Train"
    make_set(root, JPG_PNG, [str(number) for number in range(2500)])
    assert discover_benchmarks([root], trained_on=[root]) == []


def test_second_modality_of_mixed_sets_names_both(tmp_path):
    make_set(tmp_path / "A", {"RGB": ".jpg", "depth": ".png"})
    make_set(tmp_path / "B", {"RGB": ".jpg", "T": ".png"})
    make_set(tmp_path / "C", {"RGB": ".jpg"})
    a, b, c = discover_sets([tmp_path])
    assert second_modality([c]) is None
    assert second_modality([c, b]) == THERMAL
    with pytest.raises(InputError, match="A has depth maps, B has thermal images"):
        second_modality([c, a, b])
    refuse_other_modality([b, c], "thermal", "the network")
    with pytest.raises(InputError, match="trained on thermal maps, but these sets have depth"):
        refuse_other_modality([a, b, c], "thermal", "the network")


# Reading


@pytest.mark.parametrize("name", MONOTONE)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_read_thermal_in_a_monotone_palette_keeps_the_order_of_heat(tmp_path, name, suffix):
    heat = heat_image()
    colours = cv2.applyColorMap(heat, getattr(cv2, f"COLORMAP_{name}"))
    levels = read_thermal(write(tmp_path / f"a{suffix}", colours)).astype(float)
    assert levels.shape == heat.shape
    assert np.corrcoef(levels.ravel(), heat.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_read_thermal_in_an_ambiguous_palette_is_refused(tmp_path, name):
    colours = cv2.applyColorMap(heat_image(), getattr(cv2, f"COLORMAP_{name}"))
    path = write(tmp_path / "a.png", colours)
    with pytest.raises(InputError, match=r"a\.png: \d+% of the pixels differ in colour"):
        read_thermal(path)


def test_read_thermal_of_equal_channels_and_of_one_channel_are_equal(tmp_path):
    heat = heat_image()
    one = read_thermal(write(tmp_path / "one.png", heat))
    three = read_thermal(write(tmp_path / "three.png", np.dstack([heat] * 3)))
    assert np.array_equal(one, three)
    assert one.dtype == np.uint8


def test_read_thermal_of_a_photograph_is_refused(tmp_path):
    rgb = cv2.cvtColor(make_scene(0, 1).rgb, cv2.COLOR_RGB2BGR)
    rgb[:120] = (40, 40, 200)
    rgb[120:] = (200, 40, 40)
    rgb[:, :160] = cv2.applyColorMap(make_scene(0, 1).depth, cv2.COLORMAP_HSV)[:, :160]
    assert ambiguous_ratio(rgb) > 0.02
    with pytest.raises(InputError, match="as in rainbow palettes and photographs"):
        read_thermal(write(tmp_path / "photo.png", rgb))


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_read_thermal_of_radiometric_values_keeps_them(tmp_path, kind):
    kelvin = (29000 + 10 * heat_image().astype(np.uint16)).astype(kind)
    path = tmp_path / "a.npy"
    np.save(path, kelvin)
    assert np.array_equal(read_thermal(path), kelvin)


def test_read_thermal_errors_name_no_depth(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 5, 7)))
    (tmp_path / "a.mat").touch()
    for name in ("a.npy", "a.mat"):
        with pytest.raises(InputError, match="thermal") as raised:
            read_thermal(tmp_path / name)
        assert "depth" not in str(raised.value)
        assert "millimetres" not in str(raised.value)


# Scaling


@pytest.mark.parametrize("rule", ["minmax", "percentile"])
def test_depth_to_unit_never_inverts_brightness(rule):
    heat = heat_image()
    unit = depth_to_unit(heat, GREY, rule)
    assert (unit.min(), unit.max()) == (0, 1)
    assert (np.diff(unit.ravel()[np.argsort(heat, axis=None)]) >= 0).all()
    assert np.allclose(depth_to_unit(255 - heat, GREY, rule), 1 - unit, atol=1e-6)


def test_depth_to_unit_keeps_zero_as_brightness_and_fills_nan():
    raw = np.float32([[0, 5, 10], [0, np.nan, 10]])
    assert depth_to_unit(raw, GREY).tolist()[0] == [0, 0.5, 1]
    assert np.isfinite(depth_to_unit(raw, GREY)).all()
    assert not GREY.find_holes(np.uint16([[0, 65535]])).any()


def test_encoding_of_16_bit_thermal_images_is_no_distance(tmp_path):
    for stem, offset in (("a", 0), ("b", 900)):
        kelvin = heat_image().astype(np.uint16) + 29000 + offset
        write(tmp_path / "mine" / "T" / f"{stem}.png", kelvin)
        write(tmp_path / "mine" / "RGB" / f"{stem}.png", np.dstack([heat_image()] * 3))
    (found,) = with_encodings(discover_sets([tmp_path]), ["strict"])
    assert found.encoding == GREY
    assert (found.encoding.describe(), found.encoding.near) == ("brightness as stored", "none")


def test_thermal_image_of_another_size_is_interpolated_and_depth_is_not(tmp_path):
    write(tmp_path / "rgb.png", np.zeros((40, 80, 3), np.uint8))
    path = write(tmp_path / "map.png", np.uint8([[10, 200]]))
    values = {}
    for modality in (DEPTH, THERMAL):
        sample = Sample("map", tmp_path / "rgb.png", path, None, modality)
        values[modality.name] = np.unique(read_sample(sample)[1])
    assert values["depth"].tolist() == [10, 200]
    assert len(values["thermal"]) > 20


# Augmentation


def test_degrade_of_thermal_images_cuts_no_holes_and_stays_in_range():
    strength = Augmentation(depth_change=1.0, depth_noise=0.0)
    plane = torch.linspace(0.3, 0.7, 4096).reshape(1, 64, 64)
    values = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        changed = degrade(plane, rng, strength, THERMAL.degradations)
        assert 0 <= changed.min() <= changed.max() <= 1
        assert (changed.ravel().diff() >= 0).all()  # a monotone change of the values alone
        values.add(round(float(changed.mean()), 3))
    assert len(values) > 10


def test_degrade_of_depth_draws_as_before():
    plane = torch.full((1, 16, 16), 0.5)
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    degrade(plane, rng, Augmentation(depth_change=0.0), DEPTH.degradations)
    twin.random(3)
    assert rng.random() == twin.random()


# Weights and predictor


@pytest.fixture(scope="module")
def thermal_model():
    model = build_model("tiny-scratch", **SMALL).eval()
    model.config = replace(model.config, second_modality="thermal")
    return model


def test_config_without_entry_is_of_depth_and_writes_none():
    config = make_config("tiny-scratch")
    assert config.second_modality == "depth"
    assert "second_modality" not in config.to_dict()
    assert ModelConfig.from_dict(config.to_dict() | {"mean": None, "std": None}) == config


def test_weights_of_thermal_images_keep_their_modality(tmp_path, thermal_model):
    save_weights(thermal_model, tmp_path / "w.safetensors", {})
    model, _ = load_weights(tmp_path / "w.safetensors")
    assert model.config.second_modality == "thermal"
    assert Predictor.from_weights(tmp_path / "w.safetensors").second == THERMAL


def test_predictor_of_an_unregistered_modality_is_refused(tmp_path, thermal_model):
    other = replace(thermal_model.config, second_modality="sonar")
    model = build_model("tiny-scratch", **SMALL)
    model.config = other
    with pytest.raises(InputError, match="'sonar' is unknown here"):
        Predictor(model)


def test_predictor_scales_thermal_images_of_any_type_alike(thermal_model):
    predictor = Predictor(thermal_model, device="cpu")
    rgb, heat = np.dstack([heat_image()] * 3), heat_image()
    want = predictor.predict(rgb, heat)
    unit = depth_to_unit(heat, GREY)
    for same in (unit, heat.astype(np.uint16) * 100 + 7, heat.astype(np.float64) - 40):
        assert np.abs(predictor.predict(rgb, same) - want).max() < 1e-4
    assert np.abs(predictor.predict(rgb, 255 - heat) - want).max() > 1e-4
    assert np.array_equal(predictor.predict(rgb, np.full_like(heat, 9)), predictor.predict(rgb))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"near": "auto"}, "thermal images have no polarity"),
        ({"encoding": DepthEncoding("map", "white", 1.0, "")}, "of another modality"),
    ],
)
def test_predictor_of_thermal_images_refuses_polarity(thermal_model, options, problem):
    rgb = np.dstack([heat_image()] * 3)
    with pytest.raises(InputError, match=problem):
        Predictor(thermal_model, device="cpu").predict(rgb, heat_image(), **options)


def test_model_card_of_thermal_weights_names_the_pair(thermal_model):
    card = str(thermal_model.generate_model_card())
    assert "RGB-T salient object detection" in card
    assert "rgb-d" not in card
    assert "predict(rgb, thermal)" in card


# A modality from outside the package


def read_nir(path: Path | str) -> np.ndarray:
    """Read near infrared, stored inverted."""
    return 255 - read_depth(path)


@pytest.fixture
def nir():
    modality = Modality(
        name="nir",
        one_map="near-infrared image",
        folders=("nir",),
        folder="NIR",
        read=read_nir,
        to_unit=depth_to_unit,
        has_polarity=False,
        degradations=("noise",),
    )
    yield register_modality(modality)
    del MODALITIES["nir"]


def test_registered_modality_is_found_read_and_seen(tmp_path, nir):
    root = write_samples(tmp_path, 3, 1, size=(64, 72))
    (root / "depth").rename(root / "NIR")
    (found,) = with_encodings(discover_sets([tmp_path]))
    assert found.modality == nir
    assert found.encoding == GreyEncoding("nir")
    item = SodDataset([found], (64, 72))[0]
    stored = cv2.imread(str(root / "NIR" / "scene_00000_depth.png"), cv2.IMREAD_UNCHANGED)
    want = depth_to_unit(255 - stored, GREY)
    assert np.abs(item["depth"][0].numpy() - want).max() < 1e-6
    with pytest.raises(InputError, match="these sets have near-infrared images: SAMPLES"):
        refuse_other_modality([found], "thermal", "the network")
    augmented = SodDataset([found], 32, augment=Augmentation(), seed=2)
    assert 0 <= augmented[1]["depth"].min() <= augmented[1]["depth"].max() <= 1
