"""Statistics of activations, held against numpy on the whole output at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.errors import DataError
from edgekit.models import registry
from edgekit.models._activations import activation_statistics
from edgekit.spec import ModelSpec


def images(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, (count, 3, size, size)).astype(np.float32)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return registry.build(ModelSpec("mobilenet_v3_small", 0.5, 10)).eval()


def test_statistics_are_what_numpy_computes_from_whole_outputs(module: nn.Module) -> None:
    batch = images(7)
    outputs: dict[str, np.ndarray] = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out.detach().numpy().copy()}))
        for name, layer in module.named_modules()
        if not any(layer.children())
    ]
    with torch.inference_mode():
        module(torch.from_numpy(batch))
    for hook in hooks:
        hook.remove()

    result = activation_statistics(module, [batch[:3], batch[3:4], batch[4:]])
    assert {"features.0.0", "features.0.2", "classifier.3"} <= {each.name for each in result}
    for each in result:
        values = outputs[each.name].astype(np.float64)
        assert each.count == values.size
        assert each.mean == pytest.approx(values.mean(), rel=1e-5, abs=1e-7)
        assert each.std == pytest.approx(values.std(), rel=1e-5, abs=1e-7)
        assert each.zero_share == pytest.approx((values == 0).mean(), abs=1e-3)
        assert each.minimum == pytest.approx(values.min(), rel=1e-5, abs=1e-6)
        assert each.maximum == pytest.approx(values.max(), rel=1e-5, abs=1e-6)


class Scale(nn.Module):
    """Puts out its input, so that the statistics of the output are known."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * 1.0


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    offset=st.floats(-1e4, 1e4, width=32),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=50, deadline=None)
def test_how_images_are_batched_makes_no_difference(sizes: list[int], offset: float, seed: int) -> None:
    batch = (images(sum(sizes), 4, seed) + np.float32(offset)).astype(np.float32)
    batch[batch < offset] = 0.0
    pieces = np.split(batch, np.cumsum(sizes)[:-1])
    (merged,) = activation_statistics(nn.Sequential(Scale()), pieces)
    values = batch.astype(np.float64)
    assert merged.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
    assert merged.std == pytest.approx(values.std(), rel=1e-9, abs=1e-9)
    assert merged.zero_share == (values == 0).mean()
    assert (merged.minimum, merged.maximum, merged.count) == (values.min(), values.max(), values.size)


def test_layers_stand_in_the_order_they_run_with_their_kind(module: nn.Module) -> None:
    result = activation_statistics(module, [images(1)])
    assert [(each.name, each.kind) for each in result[:3]] == [
        ("features.0.0", "standard"),
        ("features.0.1", "BatchNorm2d"),
        ("features.0.2", "Hardswish"),
    ]
    assert result[-1].kind == "linear"


def test_the_share_of_zeros_shows_a_dead_layer() -> None:
    dead = nn.Conv2d(3, 4, 1)
    nn.init.constant_(dead.bias, -1e6)  # type: ignore[arg-type]
    convolution, activation = activation_statistics(nn.Sequential(dead, nn.ReLU6(inplace=True)), [images(2)])
    assert convolution.zero_share == 0.0
    assert convolution.maximum < -9e5
    assert (activation.zero_share, activation.mean, activation.std) == (1.0, 0.0, 0.0)


def test_batches_are_read_one_at_a_time_and_progress_is_told(module: nn.Module) -> None:
    events: list[str] = []

    def batches() -> Iterator[np.ndarray]:
        for count in (2, 3):
            events.append(f"read {count}")
            yield images(count)

    activation_statistics(module, batches(), lambda done: events.append(f"done {done}"))
    assert events == ["read 2", "done 2", "read 3", "done 3"]


def test_the_module_is_left_as_it_was(module: nn.Module) -> None:
    def interrupted() -> Iterator[np.ndarray]:
        yield images(1)
        raise KeyboardInterrupt

    module.train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(KeyboardInterrupt):
        activation_statistics(module, interrupted())
    assert module.training
    assert not any(layer._forward_hooks for layer in module.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_no_images_are_ek208(module: nn.Module) -> None:
    with pytest.raises(DataError, match="EK208"):
        activation_statistics(module, [])
