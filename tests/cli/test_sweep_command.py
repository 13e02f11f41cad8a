"""`edgekit sweep`: what it prints and writes, and how bad input ends."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import edgekit, refusal

ONE = """
[sweep]
trials = 5
objectives = ["agreement", "bytes"]
[space]
macs = [1.0]
precision = ["none"]
[images]
evaluation_samples = 8
"""


def test_a_space_of_one_is_swept_printed_and_written(tmp_path: Path) -> None:
    file, output = tmp_path / "sweep.toml", tmp_path / "out"
    file.write_text(ONE)
    outcome = edgekit("sweep", file, "--output", output, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.facts == json.loads((output / "front.json").read_text())
    assert outcome.facts["exhausted"]
    (only,) = outcome.facts["front"]
    assert only["candidate"] == {"model": "shipped", "macs": 1.0, "precision": "none"}
    again = edgekit("sweep", file, "--output", output)
    assert again.code == 0
    assert "the front: 1 of 1 candidates" in again.out
    assert "the space holds no more" in again.out
    assert f"wrote front.json, front.svg, front in {output}/" in again.out
    assert again.err == ""


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text("[sweep]\ntrails = 5\n")
    told = refusal(edgekit("sweep", file, "--output", tmp_path / "out"))
    assert told == f"EK023 {file}:2: sweep.trails: there is no such key; did you mean trials"
    assert not (tmp_path / "out").exists()
    file.write_text("")
    lost = edgekit("sweep", file, "--output", tmp_path / "out", "--ray-address", "nowhere")
    assert refusal(lost).startswith(("EK020 nowhere: ", "EK004 "))
