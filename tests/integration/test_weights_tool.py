"""tools/weights.py: the released weights and their files."""

import re

from tool_runs import ROOT, error_line, run_tool

from mutualformer_sod.configs.released import released_weights


def test_weights_list_names_every_released_file_with_licence_and_checksum():
    text = run_tool("weights").output
    card = (ROOT / "weights/README.md").read_text(encoding="utf-8")
    for name in released_weights():
        assert f"\n{name}\n" in f"\n{text}"
    digests = re.findall(r"sha256 +([0-9a-f]{64})", text)
    assert len(digests) == len(released_weights())
    assert all(digest in card for digest in digests)
    assert text.count("licence  ") == len(digests)
    assert "ECSSD S 0.928, MAE 0.030" in text


def test_weights_verify_accepts_the_released_tiny():
    done = run_tool("weights", "verify", "tiny")
    assert "intact, as released" in done.output


def test_weights_verify_of_a_damaged_file_is_an_error(tmp_path):
    data = bytearray(released_weights()["tiny"].read_bytes())
    data[-100] ^= 1
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(data)
    assert "damaged" in error_line(run_tool("weights", "verify", path))


def test_weights_list_with_a_name_is_an_error():
    assert "list accepts no names" in error_line(run_tool("weights", "list", "tiny"))
