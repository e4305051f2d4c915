"""Folders of weights with a model card, as on the Hugging Face hub."""

import copy
import json
import pickle
import socket

import pytest
import torch

from mutualformer_sod import Predictor, build_model
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.detector import SaliencyDetector
from mutualformer_sod.models.hub_download import download


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    settings = {"backbone": "test_vit", "stem": "patch", "feature_blocks": (2, 4), "image_size": 64}
    model = build_model("tiny-scratch", dim=16, **settings).eval()
    model.protocol = {"train_images": {"MINE": 20}}
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "shared"
    model.save_pretrained(folder, model_card_kwargs={"scores": {"ECSSD": {"S": 0.5, "MAE": 0.1}}})
    return folder


def test_from_pretrained_of_a_saved_folder_gives_the_same_logits(model, folder):
    rgb, depth = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    loaded = SaliencyDetector.from_pretrained(folder)
    assert torch.equal(loaded(rgb, depth), model(rgb, depth))
    assert loaded.config == model.config
    assert loaded.protocol == {"train_images": {"MINE": 20}}


def test_from_pretrained_of_a_hub_id_reads_the_downloaded_file(model, folder, monkeypatch):
    asked = []

    def download(repo_id, filename, **options):
        asked.append((repo_id, filename, options["revision"]))
        return str(folder / filename)

    # Nothing is downloaded in a test.
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda *_, **__: None)
    for module in ("huggingface_hub.hub_mixin", "huggingface_hub"):
        monkeypatch.setattr(f"{module}.hf_hub_download", download)
    loaded = SaliencyDetector.from_pretrained("user/name", revision="v1")
    assert loaded.config == model.config
    assert ("user/name", "model.safetensors", "v1") in asked


def test_predictor_takes_the_folder(folder):
    assert Predictor.from_weights(folder).model.config.preset == "tiny-scratch"


def test_model_card_has_scores_and_training_images(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "| ECSSD | 0.500 | 0.100 |" in card
    assert "MINE (20)" in card
    assert json.loads((folder / "config.json").read_text())["model"]["preset"] == "tiny-scratch"


def test_save_pretrained_keeps_an_edited_model_card(model, folder):
    (folder / "README.md").write_text("mine", encoding="utf-8")
    model.save_pretrained(folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == "mine"


def test_network_with_hub_methods_can_be_copied_and_pickled(model):
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.config == model.config


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_save_pretrained_into_a_folder_of_another_project_is_refused(model, tmp_path, name):
    (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"files of another project\. Fix: pass another folder"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / name).read_text(encoding="utf-8") == "{}"


@pytest.mark.parametrize("name", ["missing", "./a/missing", "missing/model.safetensors"])
def test_from_pretrained_of_a_missing_place_is_refused_in_one_line(tmp_path, name):
    with pytest.raises(InputError, match=r"no such weights file\. Fix: ") as raised:
        SaliencyDetector.from_pretrained(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_from_pretrained_of_a_folder_without_weights_names_the_file(tmp_path):
    for load in (SaliencyDetector.from_pretrained, Predictor.from_weights):
        with pytest.raises(InputError, match=r"a folder without model\.safetensors\. Fix: "):
            load(tmp_path)


def test_from_pretrained_of_a_run_folder_names_its_weights(tmp_path):
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(InputError, match=r"Fix: pass .*weights\.safetensors"):
        SaliencyDetector.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["user/name", "user/no-such-name"])
def test_from_pretrained_of_a_hub_id_without_network_is_refused_in_one_line(monkeypatch, name):
    def offline(*arguments, **options):
        raise ConnectionError("no route\nto the host")

    for module in ("huggingface_hub.hub_mixin", "huggingface_hub"):
        monkeypatch.setattr(f"{module}.hf_hub_download", offline)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", offline)
    with pytest.raises(InputError, match=r"hub \(no route\)\. Fix: check the name") as raised:
        SaliencyDetector.from_pretrained(name)
    assert "\n" not in str(raised.value)


@pytest.fixture
def downloads(monkeypatch, folder):
    """The values of local_files_only that the download was asked with; it finds the file."""
    asked = []

    def download(repository, file, *, local_files_only, **options):
        asked.append(local_files_only)
        return str(folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_from_pretrained_where_the_hub_refuses_takes_the_cache_alone(monkeypatch, downloads):
    address = f"http://127.0.0.1:{closed_port()}/x"
    monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda *_, **__: address)
    SaliencyDetector.from_pretrained("user/name")
    assert downloads == [True]  # without its retries


def test_from_pretrained_where_the_hub_refuses_and_without_cache_names_the_cause(
    monkeypatch, tmp_path
):
    address = f"http://127.0.0.1:{closed_port()}/x"
    monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda *_, **__: address)
    with pytest.raises(InputError, match=r"hub \(.*refused\)\. Fix: check the name"):
        SaliencyDetector.from_pretrained("user/name", cache_dir=tmp_path)


@pytest.mark.parametrize("problem", [TimeoutError("slow"), ValueError("busy"), None])
def test_from_pretrained_where_the_hub_answers_or_is_slow_leaves_retries_to_its_client(
    monkeypatch, downloads, problem
):
    def ask(*arguments, **options):
        if problem is not None:
            raise problem

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", ask)
    SaliencyDetector.from_pretrained("user/name")
    assert downloads == [False]


def test_download_without_patience_from_a_slow_hub_takes_the_cache_alone(monkeypatch, downloads):
    def slow(*arguments, **options):
        raise TimeoutError("slow")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", slow)
    download("user/name", "model.safetensors", patient=False)
    assert downloads == [True]


def test_from_pretrained_of_an_unknown_file_in_the_cache_only_is_refused(tmp_path):
    with pytest.raises(InputError, match="Hugging Face hub"):
        SaliencyDetector.from_pretrained("user/name", cache_dir=tmp_path, local_files_only=True)


def test_from_pretrained_reads_a_weights_file(model, folder):
    path = folder / "model.safetensors"
    assert SaliencyDetector.from_pretrained(path).config == model.config


def test_from_pretrained_with_an_unknown_option_names_it(folder):
    with pytest.raises(InputError, match=r"revison= is unknown\. Fix: pass options of revision"):
        SaliencyDetector.from_pretrained(folder, revison="v1")
