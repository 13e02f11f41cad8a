"""The engine that comes back: what it was made on, and whether it is the one that the answer speaks of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.engine import Platform, check_built, differences
from edgekit.errors import TargetError

NANO = Platform("8.2.1", "5.3", "NVIDIA Jetson Nano Developer Kit")


@pytest.mark.parametrize(
    ("made", "found", "expected"),
    [
        (NANO, NANO, ()),
        (NANO, Platform("8.6.1", "5.3", NANO.board), ("TensorRT is 8.6.1 and not 8.2.1",)),
        (NANO, Platform("8.2.1", "8.7", NANO.board), ("compute capability is 8.7 and not 5.3",)),
        (NANO, Platform("8.2.1", "5.3", "NVIDIA Jetson TX1"), (f"board is NVIDIA Jetson TX1 and not {NANO.board}",)),
        (Platform("10.3", "8.7"), Platform("10.3.0", "8.7", "NVIDIA Jetson Orin Nano"), ()),
        (Platform("10.3"), Platform("10.13.2"), ("TensorRT is 10.13.2 and not 10.3",)),
        (Platform("8.2.1", "5.3"), Platform("8.2.1"), ()),
    ],
)
def test_what_an_engine_depends_on_is_compared(made: Platform, found: Platform, expected: tuple[str, ...]) -> None:
    assert differences(made, found) == expected


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def answered(folder: Path, **changes: Any) -> Path:
    """Write a folder as a device leaves it; `changes` replace what engine.json says."""
    (folder / "bundle.json").write_text("{}")
    (folder / "model.engine").write_bytes(b"engine")
    engine = digest(folder / "model.engine")
    manifest = {
        "schema": 1, "model": "0" * 64, "precision": "fp16", "typing": "weak", "workspace_mib": 1024,
        "compute_capability": "5.3", "tensorrt": "8.2.1", "device": NANO.board, "engine": engine,
    }  # fmt: skip
    (folder / "engine.json").write_text(json.dumps({**manifest, **changes}))
    device: dict[str, Any] = {
        "model": NANO.board, "l4t": "32.7.1", "tensorrt": "8.2.1", "cuda": "10.2", "nvpmodel": "MAXN", "clocks": {},
        "compute_capability": "5.3",
    }  # fmt: skip
    result = {
        "schema": 1, "bundle": digest(folder / "bundle.json"), "tool": "trtexec", "device": device,
        "engine": {"file": "model.engine", "sha256": engine, "size_bytes": 6, "build_seconds": 1.5},
        "settings": {"warmup_ms": 500, "duration_s": 5, "runs": 0, "cuda_graph": False, "spin_wait": False,
                     "data_transfers": True},
        "runs": [], "layers": None, "outputs": {"000": [0.5]}, "power": None,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_an_answer_that_fits_is_returned(tmp_path: Path) -> None:
    assert check_built(answered(tmp_path)).engine.build_seconds == 1.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tensorrt": "8.6.1"}, "TensorRT is 8.2.1 and not 8.6.1"),
        ({"compute_capability": "8.7"}, "compute capability is 5.3 and not 8.7"),
        ({"device": "NVIDIA Jetson TX2"}, "board is NVIDIA Jetson Nano"),
    ],
)
def test_an_engine_that_was_made_elsewhere_is_ek709(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TargetError, match=r"EK709 engine\.json: .*made elsewhere: ") as caught:
        check_built(answered(tmp_path, **changes))
    assert words in str(caught.value)


def test_an_engine_of_x86_knows_no_board(tmp_path: Path) -> None:
    check_built(answered(tmp_path, device="unknown"))


def test_an_engine_that_is_not_the_one_of_the_answer_is_ek717(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"EK717 model\.engine: "):
        check_built(answered(tmp_path, engine="1" * 64))
    (answered(tmp_path) / "model.engine").write_bytes(b"another")
    with pytest.raises(TargetError, match=r"EK717 model\.engine: "):
        check_built(tmp_path)
    (tmp_path / "model.engine").unlink()
    with pytest.raises(TargetError, match=r"EK717 model\.engine: "):
        check_built(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2}'])
def test_a_manifest_that_is_none_is_ek717(tmp_path: Path, text: str) -> None:
    (answered(tmp_path) / "engine.json").write_text(text)
    with pytest.raises(TargetError, match=r"EK717 engine\.json: "):
        check_built(tmp_path)
    (tmp_path / "engine.json").unlink()
    with pytest.raises(TargetError, match=r"EK717 engine\.json: No such file"):
        check_built(tmp_path)


def test_an_answer_to_another_bundle_is_ek722(tmp_path: Path) -> None:
    (answered(tmp_path) / "bundle.json").write_text('{"another": 1}')
    with pytest.raises(TargetError, match=r"EK722 result\.json: "):
        check_built(tmp_path)
