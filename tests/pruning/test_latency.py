"""The time of a choice of channels: it is that of the layers, grows with them, and a device's is its roofline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from pruning_models import ARCHITECTURES, small

from edgekit.export import to_onnx
from edgekit.pruning import estimated_latency, remove_channels
from edgekit.pruning._latency import LayerClock, _alone, corrected, measured
from edgekit.pruning._structure import structure
from edgekit.targets import load_card, load_estimator, peaks_of


def test_fewer_channels_take_less_time() -> None:
    module, spec = small("mobilenet_v1")
    parts = structure(module, 64)
    layers: list[int] = []
    seconds = measured(parts, threads=1, advance=layers.append)
    assert sum(layers) == len(parts.layers) == 28
    whole = seconds(parts.channels)
    assert 0 < seconds([max(1, count // 4) for count in parts.channels]) < whole
    assert whole < 1.0
    assert spec.input_size == 32


def test_a_clock_adds_up_what_a_layer_does() -> None:
    module, spec = small("mobilenet_v1")
    parts = structure(module, spec.input_size)
    layer = next(layer for layer in parts.layers if layer.name == "features.1.0")
    assert layer.depthwise
    assert layer.stride == 1
    # 16 channels on 32x32 positions, 9 weights each.
    assert LayerClock(1.0, 0.0, 0.0, 0.0).seconds(layer, parts.channels) == 1.0
    assert LayerClock(0.0, 1.0, 0.0, 0.0).seconds(layer, parts.channels) == 9 * 16 * 32 * 32
    assert LayerClock(0.0, 0.0, 1.0, 1.0).seconds(layer, parts.channels) == 2 * 16 * 32 * 32


def test_whole_models_say_what_layers_alone_take_too_long_for() -> None:
    module, spec = small("mobilenet_v1")
    parts = structure(module, spec.input_size)
    clocks = [LayerClock(0.5 + index, 1e-5, 2e-4, 1e-4) for index in range(len(parts.layers))]
    choices = [[round(count * share) for count in parts.channels] for share in (1.0, 0.5, 0.25)]
    # In a whole model a call costs a tenth of what it costs alone, and the work of a layer four fifths.
    truth = [LayerClock(0.1 * c.fixed, 0.8 * c.per_mac, 0.8 * c.per_input, 0.8 * c.per_output) for c in clocks]

    def together(each: list[LayerClock], channels: list[int]) -> float:
        return sum(clock.seconds(layer, channels) for clock, layer in zip(each, parts.layers, strict=True))

    found = corrected(clocks, parts.layers, choices, [together(truth, choice) for choice in choices])
    between = [round(count * 0.7) for count in parts.channels]
    assert together(found, between) == pytest.approx(together(truth, between), rel=1e-6)
    assert together(clocks, between) > 1.2 * together(truth, between)


def test_whole_models_are_timed_at_channels_that_pruning_leaves() -> None:
    module, spec = small("mobilenet_v1")
    parts = structure(module, spec.input_size)
    asked: list[list[int]] = []

    def whole(channels: Sequence[int]) -> onnx.ModelProto:
        asked.append(list(channels))
        kept = {group.name: range(count) for group, count in zip(parts.groups, channels, strict=True)}
        narrow, described = remove_channels(module, spec, kept)
        return to_onnx(narrow, input_size=described.input_size)[0]

    seconds = measured(parts, threads=1, whole=whole)
    assert asked[0] == list(parts.channels)
    assert len(asked) == 4
    assert all(count % 8 == 0 for choice in asked for count in choice)
    assert seconds(asked[-1]) < seconds(parts.channels)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_layer_is_timed_at_the_size_that_it_has(architecture: str) -> None:
    import onnxruntime

    module, spec = small(architecture)
    parts = structure(module, spec.input_size)
    for layer in parts.layers:
        model = _alone(layer, parts.channels).SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        feed = np.zeros(session.get_inputs()[0].shape, np.float32)
        (output,) = session.run(None, {"input": feed})
        assert output.shape[1] == layer.sides(parts.channels)[1]
        assert output.shape[2] * output.shape[3] == layer.positions


def test_a_device_takes_what_its_roofline_says() -> None:
    module, spec = small("mobilenet_v2")
    parts = structure(module, spec.input_size)
    peaks = peaks_of(load_card("jetson-nano"), "fp16")
    seconds = estimated_latency(parts, peaks, load_estimator().family(peaks.tensor_cores).coefficients)
    assert 0 < seconds([max(1, count // 2) for count in parts.channels]) < seconds(parts.channels)
