"""The time of a choice of channels: it is that of the layers, grows with them, and a device's is its roofline."""

from __future__ import annotations

import numpy as np
import pytest
from pruning_models import ARCHITECTURES, small

from edgekit.pruning import estimated_latency
from edgekit.pruning._latency import LayerClock, _alone, measured
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
