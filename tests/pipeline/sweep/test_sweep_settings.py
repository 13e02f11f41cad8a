"""The sweep file: what it may say, and how a fault in it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.pipeline.sweep import SweepSettings, json_schema, read_settings


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "sweep.toml"
        path.write_text(text)
        return path

    return write


def test_an_empty_file_sweeps_the_model_that_ships(write: Callable[[str], Path]) -> None:
    assert read_settings(write("")) == SweepSettings()


def test_paths_are_relative_to_the_file(write: Callable[[str], Path], tmp_path: Path) -> None:
    text = (
        '[space]\nmodel = ["shipped", "a.safetensors"]\n[images]\nevaluation = "/data/val"\ncalibration = "few.zip"\n'
    )
    settings = read_settings(write(text))
    assert settings.space.model == ("shipped", str(tmp_path / "a.safetensors"))
    assert settings.images.evaluation == "/data/val"
    assert settings.images.calibration == str(tmp_path / "few.zip")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[space]\nmacs = [0.5]\nprecison = ['none']\n", 3, "space.precison: there is no such key; did you mean prec"),
        ("# nothing\n\n[spaces]\n", 3, "spaces: there is no such key; did you mean space"),
        ("[sweep]\nseed = 1\ntrials = 'many'\n", 3, "sweep.trials: "),
        ("[space]\nmodel = [\n  'shipped',\n]\nmacs = [0.5, 1.5]\n", 5, "space.macs: "),
        ("[sweep]\nobjectives = ['bytes', 'accuracy']\n", 1, "two objectives are accuracy or agreement first"),
        ("[sweep]\nsampler = 'tpe'\n", 1, "tpe is for one objective"),
        ("[sweep]\nsampler = 'nsga2'\nobjectives = ['bytes']\n", 1, "nsga2 is for two objectives"),
        ("[sweep]\ntrials = \n", 2, "not TOML"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line(write: Callable[[str], Path], text: str, line: int, words: str) -> None:
    path = write(text)
    with pytest.raises(UsageError, match="EK023") as refused:
        read_settings(path)
    assert refused.value.where == f"{path}:{line}"
    assert words in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"EK023 .*nothing\.toml: the sweep file cannot be read: No such file"):
        read_settings(tmp_path / "nothing.toml")


def test_the_schema_for_editors_is_current(repository: Path) -> None:
    published = json.loads((repository / "docs" / "sweep.schema.json").read_text(encoding="utf-8"))
    assert published == json_schema(), "write it again with tools/make_sweep_schema.py"
