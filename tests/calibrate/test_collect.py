"""One pass over the images, in memory that does not grow with them."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgekit.calibrate import collect, merge, ranges, summarise
from edgekit.errors import QuantizationError
from edgekit.spec import CalibrationMethod, Range

Images = npt.NDArray[np.float32]

NET = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[{batch},3,{size},{size}] input) => (float[{batch},{channels},{size},{size}] output) {{
    a = Conv (input, w)
    b = Relu (a)
    c = Log (b)
    output = Conv (b, v)
}}"""


def net(channels: int = 4, batch: int | str = "n", size: int = 8) -> onnx.ModelProto:
    model = onnx.parser.parse_model(NET.format(batch=batch, channels=channels, size=size))
    generator = np.random.default_rng(0)
    for name, inputs in (("w", 3), ("v", channels)):
        weight = generator.standard_normal((channels, inputs, 1, 1)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    return model


def images(count: int, size: int = 8) -> Images:
    return np.random.default_rng(1).standard_normal((count, 3, size, size)).astype(np.float32)


def expected_relu(model: onnx.ModelProto, batch: Images) -> Images:
    weight = numpy_helper.to_array(model.graph.initializer[0])[:, :, 0, 0]
    result: Images = np.maximum(np.einsum("nchw,oc->nohw", batch, weight), 0).astype(np.float32)
    return result


def test_it_summarises_the_wanted_tensors_over_all_images() -> None:
    model, batch = net(), images(6)
    summaries = collect(model, [batch[:4], batch[4:]], ["input", "b"])
    assert list(summaries) == ["input", "b"]
    assert summaries["input"].bins.tobytes() == summarise(batch).bins.tobytes()
    relu = expected_relu(model, batch)
    assert summaries["b"].count == relu.size
    assert summaries["b"].low == 0
    assert summaries["b"].high == pytest.approx(relu.max(), rel=1e-6)
    counts, _ = np.histogram(relu, [0, 0.5, 1, 2, 8])
    starts = [4096 + int(edge * 2.0 ** -summaries["b"].exponent) for edge in (0, 0.5, 1, 2, 8)]
    found = [int(summaries["b"].bins[first:last].sum()) for first, last in itertools.pairwise(starts)]
    assert found == pytest.approx(counts, abs=2)


def test_the_division_into_batches_makes_no_difference() -> None:
    batch = images(7)
    whole = collect(net(), [batch], ["b", "output"])
    parts = collect(net(), [batch[:1], batch[1:5], batch[5:]], ["b", "output"])
    for name in whole:
        assert whole[name].bins.tobytes() == parts[name].bins.tobytes()
        assert (whole[name].low, whole[name].high) == (parts[name].low, parts[name].high)


def test_two_collections_merge_to_that_of_all_images() -> None:
    batch = images(6)
    halves = [collect(net(), [half], ["b"])["b"] for half in (batch[:3], batch[3:])]
    assert merge(*halves).bins.tobytes() == collect(net(), [batch], ["b"])["b"].bins.tobytes()


def test_without_histogram_only_the_extremes_are_kept() -> None:
    summary = collect(net(), [images(2)], ["b"], histogram=False)["b"]
    assert summary.bins.size == 0
    assert summary.high == collect(net(), [images(2)], ["b"])["b"].high


def test_progress_is_told_how_many_images_were_just_done() -> None:
    seen: list[int] = []
    collect(net(), [images(2), images(1)], ["b"], progress=seen.append)
    assert seen == [1, 1, 1]
    collect(net(batch=2), [images(4)], ["b"], progress=seen.append)
    assert seen[3:] == [2, 2]


def test_the_model_that_was_given_is_not_changed() -> None:
    model = net()
    before = model.SerializeToString(deterministic=True)
    collect(model, [images(1)], ["a", "b"])
    assert model.SerializeToString(deterministic=True) == before


def test_the_input_alone_can_be_collected() -> None:
    assert collect(net(), [images(2)], ["input"])["input"].count == 2 * 3 * 8 * 8


def test_a_fixed_batch_is_kept_to() -> None:
    assert collect(net(batch=2), [images(4)], ["b"])["b"].count == 4 * 4 * 8 * 8
    with pytest.raises(QuantizationError, match="EK502 the model takes 2 images at a time and 1 are left over"):
        collect(net(batch=2), [images(3)], ["b"])


@pytest.mark.parametrize("batches", [[], [images(0)]])
def test_no_images_are_refused(batches: list[Images]) -> None:
    with pytest.raises(QuantizationError, match="EK502 there are no calibration images"):
        collect(net(), batches, ["b"])


def test_a_tensor_that_becomes_infinite_is_named() -> None:
    with pytest.raises(QuantizationError, match=r"EK502 c: .* NaN or infinite"):
        collect(net(), [images(2)], ["b", "c"])


def test_an_image_with_nan_is_named_as_the_input() -> None:
    batch = images(2)
    batch[1, 0, 0, 0] = np.nan
    with pytest.raises(QuantizationError, match="EK502 input"):
        collect(net(), [batch], ["input"])


def test_the_number_of_threads_makes_no_difference() -> None:
    batch = images(9)
    one, many = (collect(net(), [batch], ["input", "b", "output"], threads=threads) for threads in (1, 6))
    for name, summary in one.items():
        for attribute in ("bins", "channel_low", "channel_high"):
            assert getattr(summary, attribute).tobytes() == getattr(many[name], attribute).tobytes()


def test_torch_keeps_its_number_of_threads() -> None:
    before = torch.get_num_threads()
    collect(net(), [images(3)], ["b"], threads=2)
    assert torch.get_num_threads() == before


def test_each_channel_has_its_extremes() -> None:
    model, batch = net(), images(5)
    summary = collect(model, [batch], ["input", "b"])
    assert summary["input"].channel_low.tolist() == batch.min(axis=(0, 2, 3)).tolist()
    relu = expected_relu(model, batch)
    assert summary["b"].channel_high == pytest.approx(relu.max(axis=(0, 2, 3)), rel=1e-5)


def test_a_channel_without_weights_is_dead_and_the_tensor_keeps_its_range() -> None:
    model = net()
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[2] = 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    summary = collect(model, [images(2)], ["b"])["b"]
    assert summary.dead_channels == (2,)
    assert summary.high > 0


def test_a_model_without_weights_gives_ranges_of_nothing_but_zero() -> None:
    model = net()
    for initializer in model.graph.initializer:
        initializer.CopyFrom(
            numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(initializer)), initializer.name)
        )
    summaries = collect(model, [images(2)], ["b", "output"])
    for method in get_args(CalibrationMethod):
        assert ranges(summaries, method) == {"b": Range(0, 0), "output": Range(0, 0)}


@pytest.mark.parametrize("method", get_args(CalibrationMethod))
def test_one_image_is_enough_and_again_and_again_tells_no_more(method: CalibrationMethod) -> None:
    one = images(1)
    once = ranges(collect(net(), [one], ["b", "output"]), method)
    assert once == ranges(collect(net(), [one] * 4, ["b", "output"]), method)
    assert all(interval.low < interval.high for interval in once.values())


def test_an_error_in_the_images_ends_the_pass() -> None:
    def broken() -> Iterator[Images]:
        yield images(2)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        collect(net(), broken(), ["b"])


def test_a_tensor_that_does_not_exist_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        collect(net(), [images(1)], ["nowhere"])


def test_memory_does_not_grow_with_the_images() -> None:
    few, many = peak_memory(8, 64)
    assert many - few < 30


def peak_memory(*counts: int) -> list[float]:
    """Peak resident memory, in MiB, of a process after it collects from so many images of 3 MiB of activations each."""
    program = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_collect import net, stream
from edgekit.calibrate import collect
for count in {counts}:
    collect(net(channels=8, size=224), stream(count), ["a", "b"], threads=1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return [float(line) for line in done.stdout.splitlines()]


def stream(count: int) -> Iterator[Images]:
    for _ in range(count // 8):
        yield images(8, size=224)
