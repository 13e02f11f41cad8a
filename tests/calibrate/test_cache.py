"""Summaries on disk: reused when graph and images match, refused by EK506 when damaged, never a crash."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from PIL import Image
from safetensors.numpy import load_file, save_file

from edgekit.calibrate import Summary, hash_graph, hash_images, load, merge, save, summarise
from edgekit.data import open_images
from edgekit.errors import QuantizationError, UsageError
from edgekit.spec import Preprocessing

GRAPH, IMAGES = "a" * 64, "b" * 64
HEADER = "edgekit.calibration"


def some_summaries() -> dict[str, Summary]:
    generator = np.random.default_rng(3)
    maps = generator.standard_normal((2, 3, 5, 5)).astype(np.float32)
    return {
        "input": summarise(maps),
        "relu": summarise(np.maximum(maps, 0)),
        "logits": summarise(generator.standard_normal((2, 10)).astype(np.float32) * 1e4),
        "zero": summarise(np.zeros((1, 4), np.float32)),
        "rank 3, é": summarise(np.full((1, 2, 3), -7, np.float32)),
        "extremes only": summarise(maps, histogram=False),
    }


def content(summary: Summary) -> tuple[object, ...]:
    arrays = (summary.bins, summary.channel_low, summary.channel_high)
    return summary.count, summary.low, summary.high, summary.exponent, *((a.dtype, a.tobytes()) for a in arrays)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "calibration.safetensors"
    save(some_summaries(), path, GRAPH, IMAGES)
    return path


def test_what_was_saved_is_loaded_again(saved: Path) -> None:
    found = load(saved, GRAPH, IMAGES)
    assert found is not None
    assert {name: content(summary) for name, summary in found.items()} == {
        name: content(summary) for name, summary in some_summaries().items()
    }
    assert list(found) == list(some_summaries())


def test_loaded_summaries_merge_with_new_ones(saved: Path) -> None:
    found = load(saved, GRAPH, IMAGES)
    assert found is not None
    fresh = some_summaries()["relu"]
    assert content(merge(found["relu"], fresh)) == content(merge(fresh, fresh))


def test_equal_summaries_make_equal_files(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    save(some_summaries(), again, GRAPH, IMAGES)
    assert again.read_bytes() == saved.read_bytes()


def test_the_file_is_small_and_keeps_counts_beyond_32_bits(tmp_path: Path) -> None:
    path = tmp_path / "file"
    summary = summarise(np.maximum(np.random.default_rng(0).standard_normal(100_000), 0).astype(np.float32))
    save({str(index): summary for index in range(60)}, path, GRAPH, IMAGES)
    assert path.stat().st_size < 60 * 17_000
    for _ in range(18):
        summary = merge(summary, summary)
    save({"a": summary}, path, GRAPH, IMAGES)
    found = load(path, GRAPH, IMAGES)
    assert found is not None
    assert content(found["a"]) == content(summary)
    assert int(summary.bins.max()) > 1 << 32


def test_nothing_is_saved_of_no_tensors_but_the_hashes(tmp_path: Path) -> None:
    save({}, tmp_path / "file", GRAPH, IMAGES)
    assert load(tmp_path / "file", GRAPH, IMAGES) == {}


def test_a_file_is_not_reused_for_another_graph_other_images_or_more_tensors(saved: Path, tmp_path: Path) -> None:
    assert load(saved, "c" * 64, IMAGES) is None
    assert load(saved, GRAPH, "c" * 64) is None
    assert load(saved, GRAPH, IMAGES, ["input", "new"]) is None
    assert load(saved, GRAPH, IMAGES, ["input", "relu"]) is not None
    assert load(tmp_path / "absent", GRAPH, IMAGES) is None


def test_a_file_of_another_version_is_not_reused(saved: Path) -> None:
    save_file({"other": np.zeros(1, np.float32)}, saved, {HEADER: json.dumps({"schema": 2})})
    assert load(saved, GRAPH, IMAGES) is None


def test_summaries_without_finite_values_are_not_saved(tmp_path: Path) -> None:
    for values in ([], [np.nan], [1, np.inf]):
        with pytest.raises(ValueError, match="bad"):
            save({"bad": summarise(np.array(values, np.float32))}, tmp_path / "file", GRAPH, IMAGES)
    assert not (tmp_path / "file").exists()


def test_a_file_that_cannot_be_written_is_ek003(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="EK003"):
        save(some_summaries(), tmp_path, GRAPH, IMAGES)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}", b"PK\x03\x04" + bytes(50)])
def test_a_file_of_something_else_is_ek506(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(QuantizationError, match=r"EK506 .*file: not a calibration file"):
        load(path, GRAPH, IMAGES)


def test_a_folder_is_ek506(tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="EK506"):
        load(tmp_path, GRAPH, IMAGES)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_read_but_never_crashes(saved: Path, data: st.DataObject) -> None:
    whole = saved.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:place]
    else:
        damaged = whole[:place] + data.draw(st.binary(min_size=1, max_size=4)) + whole[place + 4 :]
    path = saved.with_name("damaged")
    path.write_bytes(damaged)
    found = None
    with contextlib.suppress(QuantizationError):  # EK506, tested below; anything else is a crash
        found = load(path, GRAPH, IMAGES)
    assert found is None or len(damaged) == len(whole)
    assert found is None or all(summary.is_finite for summary in found.values())


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("count", [51, 150, 20, 4, 6, 150], "add up"),
        ("count", [150, 150, 20, 4, 6, -1], "no finite values"),
        ("low", [np.nan, 0, 0, 0, 0, 0], "no finite values"),
        ("high", [np.inf, 0, 0, 0, 0, 0], "no finite values"),
        ("exponent", [2**31 - 1] * 6, "wrong width"),
        ("first_bin", [-1] * 6, "add up"),
        ("first_bin", [8192] * 6, "add up"),
        ("bin_count", [-1] * 6, "bin_count is negative"),
        ("bin_count", [2**31 - 1] * 6, "bins is"),
        ("channel_count", [0] * 6, "channel_low is"),
        ("count", [1, 2], "count is"),
    ],
)
def test_numbers_that_no_values_make_are_ek506(saved: Path, name: str, values: list[float], reason: str) -> None:
    arrays: dict[str, npt.NDArray[np.generic]] = load_file(saved)
    assert arrays[name].shape == (6,)
    arrays[name] = np.array(values).astype(arrays[name].dtype)
    rewrite(saved, arrays)
    with pytest.raises(QuantizationError, match=f"EK506 .*{reason}"):
        load(saved, GRAPH, IMAGES)


def test_arrays_of_other_types_or_names_are_ek506(saved: Path) -> None:
    arrays = load_file(saved)
    for wrong in (
        arrays | {"low": arrays["low"].astype(np.float32)},
        arrays | {"extra": np.zeros(1)},
        {name: array for name, array in arrays.items() if name != "bins"},
        arrays | {"channel_low": arrays["channel_low"] + 1},
        arrays | {"bins": arrays["bins"][::-1].copy()},
    ):
        path = saved.with_name("wrong")
        rewrite(path, wrong, header_of=saved)
        with pytest.raises(QuantizationError, match="EK506"):
            load(path, GRAPH, IMAGES)


@pytest.mark.parametrize(
    "change",
    [
        {"tensors": None},
        {"tensors": ["a"] * 6},
        {"tensors": [1, 2, 3, 4, 5, 6]},
        {"tensors": ["a"]},
        {"tensors": {"a": 1}},
    ],
)
def test_a_header_that_names_the_tensors_wrongly_is_ek506(saved: Path, change: dict[str, object]) -> None:
    rewrite(saved, load_file(saved), change=change)
    with pytest.raises(QuantizationError, match="EK506"):
        load(saved, GRAPH, IMAGES)


@pytest.mark.parametrize("header", ["", "[]", "[" * 5000, "null", '{"schema": 1}', "nonsense"])
def test_a_header_that_is_something_else_is_ek506(saved: Path, header: str) -> None:
    save_file(load_file(saved), saved, {HEADER: header})
    with pytest.raises(QuantizationError, match="EK506"):
        load(saved, GRAPH, IMAGES)


def rewrite(
    path: Path,
    arrays: dict[str, npt.NDArray[np.generic]],
    *,
    header_of: Path | None = None,
    change: dict[str, object] | None = None,
) -> None:
    """Write the file again with other arrays, and with a header of which some entries are changed."""
    with (header_of or path).open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(json.loads(stream.read(length))["__metadata__"][HEADER])
    save_file(dict(arrays), path, {HEADER: json.dumps(header | (change or {}))})


def test_the_hash_of_a_graph_changes_with_its_weights() -> None:
    def graph(weight: float) -> onnx.ModelProto:
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> agraph (float[n] x) => (float[n] y) { y = Mul (x, w) }'
        )
        model.graph.initializer.append(numpy_helper.from_array(np.array([weight], np.float32), "w"))
        return model

    assert hash_graph(graph(1)) == hash_graph(graph(1)) != hash_graph(graph(2))
    assert len(hash_graph(graph(1))) == 64


def test_the_hash_of_images_is_of_files_names_and_preprocessing_but_not_of_order(tmp_path: Path) -> None:
    for index in range(3):
        Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / f"{index}.png")
    images, preprocessing = open_images(tmp_path), Preprocessing(4, 4)
    first = hash_images(images, preprocessing)
    assert first == hash_images(open_images(tmp_path).select([2, 0, 1]), preprocessing)
    assert first != hash_images(images.select([0, 1]), preprocessing)
    assert first != hash_images(images, Preprocessing(4, 5))
    Image.new("RGB", (4, 4), (9, 0, 0)).save(tmp_path / "1.png")
    assert first != hash_images(open_images(tmp_path), preprocessing)


def test_no_image_is_decoded_to_hash_it(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image at all")
    assert len(hash_images(open_images(tmp_path), Preprocessing(4, 4))) == 64
