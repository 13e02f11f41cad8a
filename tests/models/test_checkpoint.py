"""Reading checkpoint files: what is accepted, and what each kind of bad file is answered with."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from edgekit.errors import ModelError
from edgekit.files import sha256_of
from edgekit.models import save_checkpoint
from edgekit.models._checkpoint import read_checkpoint

Tensors = dict[str, torch.Tensor]
WEIGHTS: Tensors = {
    "features.0.weight": torch.arange(24.0).reshape(2, 3, 2, 2),
    "features.1.running_mean": torch.tensor([0.5, -1.0]),
    "classifier.weight": torch.ones(4, 2),
}


class RunsCode:
    """A pickle of this would run a command when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch code-was-run",)


def saved(folder: Path, content: Any, name: str = "model.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def assert_read(path: Path, expected: Tensors) -> None:
    read = read_checkpoint(path).tensors
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert read[name].dtype == torch.float32
        assert torch.equal(read[name], tensor)


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read_checkpoint(path)
    assert caught.value.where == str(path)
    return caught.value


def test_safetensors_gives_tensors_metadata_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(WEIGHTS, path, metadata={"width": "0.5"})
    assert_read(path, WEIGHTS)
    checkpoint = read_checkpoint(path)
    assert checkpoint.metadata == {"width": "0.5"}
    assert checkpoint.sha256 == sha256_of(path)


def test_tensors_outlive_the_file_they_came_from(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(WEIGHTS, path)
    tensors = read_checkpoint(path).tensors
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert torch.equal(tensors["classifier.weight"], WEIGHTS["classifier.weight"])


@pytest.mark.parametrize("legacy", [False, True])
def test_state_dicts_of_torch_keep_the_order_of_the_file(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=not legacy)
    assert_read(path, WEIGHTS)
    assert list(read_checkpoint(path).tensors) == list(WEIGHTS)


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    assert_read(saved(tmp_path, WEIGHTS, "model.bin"), WEIGHTS)
    assert_read(saved(tmp_path, WEIGHTS, "model.safetensors"), WEIGHTS)
    save_file(WEIGHTS, tmp_path / "really_safetensors.pth")
    assert_read(tmp_path / "really_safetensors.pth", WEIGHTS)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": WEIGHTS, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}},
        {"model": WEIGHTS, "model_ema": {"decay": torch.tensor(0.5)}},
        {"model_state_dict": WEIGHTS, "loss": 0.25},
        {"ema": {"module": WEIGHTS}},
        {"my_own_name": WEIGHTS, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}},
        {"model": {"state_dict": WEIGHTS}},
    ],
)
def test_wrappers_are_opened(tmp_path: Path, content: Any) -> None:
    assert_read(saved(tmp_path, content), WEIGHTS)


PREFIX = st.lists(st.sampled_from(["module.", "model.", "backbone.", "_orig_mod."]), max_size=3).map("".join)


@given(
    prefix=PREFIX,
    wrappers=st.lists(st.sampled_from(["state_dict", "model", "model_state_dict", "net"]), max_size=3),
    counters=st.booleans(),
    order=st.permutations(list(WEIGHTS)),
)
@settings(max_examples=40, deadline=None)
def test_prefixes_wrappers_counters_and_order_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, prefix: str, wrappers: list[str], counters: bool, order: list[str]
) -> None:
    content: dict[str, Any] = {prefix + name: WEIGHTS[name] for name in order}
    if counters:
        content[f"{prefix}features.1.num_batches_tracked"] = torch.tensor(7)
    for wrapper in wrappers:
        content = {wrapper: content, "epoch": 1}
    path = saved(tmp_path_factory.mktemp("checkpoint"), content)
    assert_read(path, WEIGHTS)
    assert list(read_checkpoint(path).tensors) == order


def test_a_prefix_that_some_names_lack_stays(tmp_path: Path) -> None:
    mixed = {"backbone.a.weight": torch.ones(2), "head.weight": torch.ones(2)}
    assert_read(saved(tmp_path, mixed), mixed)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    assert_read(saved(tmp_path, {name: tensor.to(dtype) for name, tensor in WEIGHTS.items()}), WEIGHTS)


def test_parameters_and_views_become_plain_tensors(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a.weight": nn.Parameter(torch.arange(6.0).reshape(2, 3)).t()})
    tensor = read_checkpoint(path).tensors["a.weight"]
    assert not tensor.requires_grad
    assert tensor.is_contiguous()
    assert tensor.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_missing_file_is_ek101(tmp_path: Path) -> None:
    error = refusal(tmp_path / "absent.pth")
    assert error.code == "EK101"
    assert "No such file" in error.what


def test_what_is_no_checkpoint_is_ek102(tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\xff\xe0 no model")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a/b.jpg", b"image")
    saved(tmp_path, [torch.ones(2)], "list.pth")
    saved(tmp_path, torch.ones(2), "tensor.pth")
    saved(tmp_path, {"epoch": 3}, "no_weights.pth")
    save_file({}, tmp_path / "no_weights.safetensors")
    saved(tmp_path, {"a.weight": torch.ones(2, dtype=torch.int8)}, "integers.pth")
    saved(tmp_path, {"a.weight": torch.ones(2, 2).to_sparse()}, "sparse.pth")
    (tmp_path / "folder.pth").mkdir()
    for path in sorted(tmp_path.iterdir()):
        error = refusal(path)
        assert error.code == "EK102", path
        assert "torch.save(model.state_dict(), FILE)" in error.hint


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_ek103_and_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pth"
    torch.save({"state_dict": WEIGHTS, "x": RunsCode()}, path, _use_new_zipfile_serialization=not legacy)
    error = refusal(path)
    assert error.code == "EK103"
    assert "system" in error.what
    assert not Path("code-was-run").exists()


def test_whole_modules_and_numpy_objects_are_ek103_with_the_way_out(tmp_path: Path) -> None:
    with_scalar = {"state_dict": WEIGHTS, "accuracy": np.float64(0.9)}
    for name, content in {"module.pth": nn.Linear(2, 2), "scalar.pth": with_scalar}.items():
        error = refusal(saved(tmp_path, content, name))
        assert error.code == "EK103"
        assert "torch.save(model.state_dict(), FILE)" in error.hint


def test_a_plain_pickle_that_would_run_code_is_ek103(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(RunsCode()))
    assert refusal(path).code == "EK103"


def test_a_torchscript_archive_is_ek103(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/model.py"):
            archive.writestr(f"script/{name}", b"")
    error = refusal(path)
    assert error.code == "EK103"
    assert "TorchScript" in error.what


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage that is no model"])
def test_garbage_named_as_a_checkpoint_is_ek104(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    assert refusal(path).code == "EK104"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_truncated_files_are_ek104(tmp_path: Path, share: float) -> None:
    weights = {"classifier.weight": torch.ones(100, 100)}
    save_file(weights, tmp_path / "a.safetensors")
    saved(tmp_path, weights, "b.pth")
    torch.save(weights, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    for path in sorted(tmp_path.iterdir()):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        assert refusal(path).code == "EK104", path


def test_a_flipped_bit_in_the_weights_of_an_archive_is_ek104(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a.weight": torch.full((64,), 3.0)})
    content = bytearray(path.read_bytes())
    content[content.find(torch.full((64,), 3.0).numpy().tobytes()) + 17] ^= 1
    path.write_bytes(content)
    error = refusal(path)
    assert error.code == "EK104"
    assert "checksum" in error.what


@given(data=st.data(), suffix=st.sampled_from([".pth", ".safetensors", ".old.pth"]))
@settings(max_examples=100, deadline=None)
def test_damage_anywhere_never_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("damaged") / f"model{suffix}"
    if suffix == ".safetensors":
        save_file(WEIGHTS, path)
    else:
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=suffix == ".pth")
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        tensors = read_checkpoint(path).tensors
    except ModelError as error:
        assert error.code in {"EK102", "EK103", "EK104", "EK110"}  # noqa: PT017 (a refusal is one of two good ends)
    else:
        assert all(tensor.dtype == torch.float32 for tensor in tensors.values())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_weights_that_are_not_finite_as_float32_are_ek110(tmp_path: Path, value: float) -> None:
    tensors = WEIGHTS | {"classifier.weight": torch.tensor([[1.0, value]], dtype=torch.float64)}
    error = refusal(saved(tmp_path, tensors))
    assert error.code == "EK110"
    assert error.what.startswith("classifier.weight ")


def test_a_checkpoint_that_is_written_again_has_the_same_bytes_and_reads_as_before(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5))
    # Enough keys that an order left to chance would hardly be the same twice.
    metadata = {f"key {letter} é": f'"{letter}"' for letter in "qwertyuiopasdfgh"}
    for name in ("first", "second"):
        save_checkpoint(tmp_path / name, module, metadata)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    with safetensors.safe_open(tmp_path / "first", framework="pt") as file:
        assert file.metadata() == metadata
        assert all(torch.equal(file.get_tensor(name), module.state_dict()[name]) for name in file.keys())  # noqa: SIM118
