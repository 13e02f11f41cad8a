"""Target cards: complete, sourced, and readable by nothing but the schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.errors import TargetError, UsageError
from edgekit.targets import Card, load_card, names, read_card

JETSONS = {
    "jetson-nano", "jetson-tx1", "jetson-tx2", "jetson-xavier-nx", "jetson-agx-xavier", "jetson-orin-nano",
    "jetson-orin-nano-super", "jetson-orin-nx", "jetson-agx-orin", "jetson-thor",
}  # fmt: skip
OTHERS = {"x86-gpu", "cpu", "cpu-avx2", "openvino"}


def test_there_is_a_card_for_every_promised_target() -> None:
    assert set(names()) == JETSONS | OTHERS


@pytest.mark.parametrize("name", sorted(JETSONS | OTHERS))
def test_a_card_is_complete_and_every_fact_has_a_source(name: str) -> None:
    card = load_card(name)
    assert card.name == name
    facts = [fact for _, fact in card.facts if fact is not None]
    assert all(card.sources[fact.source] for fact in facts)
    for fact in facts:
        assert (card.sources[fact.source] == "general knowledge; no source was found") == (
            fact.confidence == "unverified"
        ) or fact.source != "general"


@pytest.mark.parametrize("name", sorted(JETSONS))
def test_a_jetson_says_what_a_plan_needs(name: str) -> None:
    card = load_card(name)
    assert card.kind == "jetson"
    for fact in (card.facts.compute_capability, card.facts.memory_gb, card.facts.bandwidth_gb_s):
        assert fact is not None
    for stack in card.stacks:
        assert stack.jetpack
        assert stack.python
        assert stack.release.version == ".".join(stack.tensorrt.split(".")[:2])


@pytest.mark.parametrize(
    ("name", "capability", "int8", "fp8"),
    [
        ("jetson-nano", "5.3", False, False), ("jetson-tx1", "5.3", False, False), ("jetson-tx2", "6.2", False, False),
        ("jetson-xavier-nx", "7.2", True, False), ("jetson-orin-nano", "8.7", True, False),
        ("jetson-thor", "11.0", True, True),
    ],
)  # fmt: skip
def test_precision_support_is_what_the_reference_says(name: str, capability: str, int8: bool, fp8: bool) -> None:
    facts = load_card(name).facts
    assert facts.compute_capability is not None
    assert (facts.compute_capability.value, facts.int8.value, facts.fp8.value) == (capability, int8, fp8)


def test_the_nanos_tensorrt_stops_at_opset_13_and_has_no_hard_swish() -> None:
    release = load_card("jetson-nano").stacks[-1].release
    assert (release.newest_opset, release.missing_operators, release.typing) == (13, ("HardSwish",), "weak")
    assert load_card("jetson-agx-orin").stacks[-1].release.typing == "strong"


def changed(tmp_path: Path, pattern: str, replacement: str) -> Path:
    """Return a copy of the Nano's card with one thing changed."""
    original = next(path for path in _folder().glob("jetson-nano.toml"))
    text, count = re.subn(pattern, replacement, original.read_text(), count=1)
    assert count == 1
    path = tmp_path / "my-card.toml"
    path.write_text(text)
    return path


def _folder() -> Path:
    from edgekit.shipped import shipped

    return shipped("engines")


def test_a_card_of_the_users_own_is_a_target(tmp_path: Path) -> None:
    path = changed(tmp_path, r"value = 25\.6", "value = 30.0")
    card = load_card(str(path))
    assert card.facts.bandwidth_gb_s is not None
    assert card.facts.bandwidth_gb_s.value == 30.0


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r'title = ".*"\n', "", r"title: Field required"),
        (r"int8 = .*\n", "", r"facts\.int8: Field required"),
        (r'source = "no_int8"', 'source = "nowhere"', r"the source 'nowhere' is not in \[sources\]"),
        (r"\[sources\]\n", '[sources]\nunused = "x"\n', r"no fact names the source 'unused'"),
        (r'confidence = "read"', 'confidence = "sure"', r"confidence"),
        (r'kind = "jetson"', 'kind = "cpu"', r"has \[\[stacks\]\]"),
        (r"value = 4,", 'value = "much",', r"facts\.memory_gb\.value"),
        (r'name = "jetson-nano"', 'name = "jetson-nano"\nspeed = 1', r"speed: Extra inputs"),
        (r'title = "', "title = ", r"not a TOML file"),
    ],
)
def test_a_wrong_card_is_ek701_and_names_the_field(
    pattern: str, replacement: str, message: str, tmp_path: Path
) -> None:
    path = changed(tmp_path, pattern, replacement)
    with pytest.raises(TargetError, match=rf"EK701 .*my-card\.toml: .*{message}"):
        read_card(path)


def test_a_huge_card_is_ek701_and_a_missing_one_ek002(tmp_path: Path) -> None:
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(TargetError, match=r"EK701 .*far larger"):
        read_card(huge)
    with pytest.raises(UsageError, match=r"EK002 .*cannot be read"):
        read_card(tmp_path / "none.toml")
    with pytest.raises(
        UsageError, match=r"EK002 --target: there is no target 'jetson-mars'; take one of .*jetson-nano"
    ):
        load_card("jetson-mars")


def test_a_version_older_than_all_is_ek701(tmp_path: Path) -> None:
    path = changed(tmp_path, r'tensorrt = "8\.0\.1"', 'tensorrt = "7.1"')
    card: Card = read_card(path)
    with pytest.raises(TargetError, match=r"EK701 .*TensorRT 7\.1 is older"):
        _ = card.stacks[0].release
