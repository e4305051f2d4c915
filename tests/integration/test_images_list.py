"""--images: a list of images, such as a run's hold-out, tested and scored on its own."""

import json

from tool_runs import error_line, run_tool


def test_images_list_of_a_run_selects_its_validation_images(run_folder, scenes, tmp_path):
    held_out = run_folder / "val_images.txt"
    names = held_out.read_text().split()
    assert len(names) == 3
    common = ["--data", scenes, "--images", held_out]
    weights = ["--weights", run_folder / "weights.safetensors", "--workers", 0]
    done = run_tool("test", *common, *weights, "--output", tmp_path / "maps")
    assert done.status == 0, done.error
    maps = {path.stem for path in (tmp_path / "maps").rglob("*.png")}
    assert maps == {name.split("/")[-1] for name in names}
    scores = ["--maps", tmp_path / "maps", "--output", tmp_path / "scores", "--workers", 1]
    done = run_tool("evaluate", *common, *scores)
    assert done.status == 0, done.error
    (row,) = (tmp_path / "scores" / "per_image.csv").read_text().splitlines()[1:2]
    assert row
    assert len((tmp_path / "scores" / "per_image.csv").read_text().splitlines()) == 4
    assert json.loads((tmp_path / "scores" / "scores.json").read_text())


def test_hidden_modality_gives_other_maps_and_is_recorded(run_folder, scenes, tmp_path):
    common = ["--data", scenes, "--weights", run_folder / "weights.safetensors", "--workers", 0]
    both = tmp_path / "mutualformer_tiny-scratch"  # the default preset of training
    folders = {"both": both, "rgb": tmp_path / f"{both.name}_rgb"}
    for modality, folder in folders.items():
        done = run_tool("test", *common, "--output", tmp_path, "--modality", modality)
        assert done.status == 0, done.error
        assert json.loads((folder / "run.json").read_text())["modality"] == modality
    pairs = [
        (path.read_bytes(), (folders["rgb"] / path.relative_to(folders["both"])).read_bytes())
        for path in folders["both"].rglob("*.png")
    ]
    assert any(with_depth != without for with_depth, without in pairs)


def test_list_of_other_images_is_refused(run_folder, scenes, tmp_path):
    weights = ["--weights", run_folder / "weights.safetensors", "--output", tmp_path / "maps"]
    for text, word in (
        ("SAMPLES/nothing\n", "nothing"),
        ("OTHER/x\n", "no image of these sets"),
        ("alone\n", "'alone' is not SET/STEM"),
    ):
        (tmp_path / "list.txt").write_text(text)
        common = ["--data", scenes, "--images", tmp_path / "list.txt"]
        assert word in error_line(run_tool("test", *common, *weights))
    missing = ["--data", scenes, "--images", tmp_path / "no.txt"]
    assert "--images" in error_line(run_tool("test", *missing, *weights))
