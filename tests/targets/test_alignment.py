"""Channel counts that leave no lane of a target's kernels idle."""

from __future__ import annotations

import pytest

from edgekit.pipeline.prune import channel_multiple_for
from edgekit.targets import CHANNEL_MULTIPLE, channel_multiple, load_card


@pytest.mark.parametrize(
    ("name", "multiple"),
    [("jetson-nano", 8), ("jetson-tx2", 8), ("jetson-xavier-nx", 16), ("jetson-orin-nano", 16), ("cpu-avx2", 8)],
)
def test_int8_tensor_cores_take_sixteen_channels_at_once(name: str, multiple: int) -> None:
    assert channel_multiple(load_card(name), ()) == multiple


def test_this_machines_cpu_is_asked_for_vnni() -> None:
    assert channel_multiple(load_card("cpu"), ("avx512_vnni",)) == 16
    assert channel_multiple(load_card("cpu"), ("avx_vnni",)) == 8


def test_without_a_target_counts_suit_every_device() -> None:
    assert channel_multiple_for(None) == CHANNEL_MULTIPLE == 8
    assert channel_multiple_for("jetson-agx-orin") == 16
