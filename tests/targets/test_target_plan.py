"""The plan: a pure function of model, card and wishes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import TargetError, UsageError
from edgekit.spec import Quantization
from edgekit.targets import CHANGES, BuildPlan, ModelFacts, Wishes, load_card, names, opset_for, plan

V1 = ModelFacts(17, frozenset({"Conv", "Clip", "GlobalAveragePool", "Flatten", "Gemm"}))
V3 = ModelFacts(17, frozenset({"Conv", "HardSwish", "HardSigmoid", "Mul", "Gemm"}), has_int64=True)
QUANTIZED = ModelFacts(17, frozenset({"Conv", "QuantizeLinear", "DequantizeLinear"}), quantized=True)


def rewrites(result: BuildPlan) -> list[str]:
    return [rewrite.name for rewrite in result.rewrites]


def codes(result: BuildPlan) -> list[str]:
    return [change.code for change in result.changes]


def test_int8_on_a_nano_becomes_fp16_and_is_said() -> None:
    result = plan(V1, load_card("jetson-nano"), Wishes("static"))
    assert (result.precision, result.opset, result.flavour, result.typing) == ("fp16", 13, "cpu", "weak")
    assert codes(result) == ["EKT101"]
    assert "no INT8 in TensorRT (compute capability 5.3): FP16 is planned" in result.changes[0].what
    assert result.workspace_mib == 1024


@pytest.mark.parametrize("name", ["jetson-nano", "jetson-tx1", "jetson-tx2"])
def test_without_a_wish_for_int8_nothing_is_changed(name: str) -> None:
    assert codes(plan(V1, load_card(name), Wishes("none"))) == []


def test_dynamic_int8_is_never_planned_for_tensorrt() -> None:
    result = plan(V1, load_card("jetson-orin-nano"), Wishes("dynamic"))
    assert (result.precision, codes(result)) == ("fp16", ["EKT102"])


def test_an_opset_that_is_too_new_is_lowered_and_said() -> None:
    result = plan(V1, load_card("jetson-nano"), Wishes("none", opset=17))
    assert (result.opset, codes(result)) == (13, ["EKT103"])
    assert "lower_opset" in rewrites(result)
    assert plan(V1, load_card("jetson-agx-orin"), Wishes("none", opset=18)).changes == ()


def test_a_device_without_fp16_gets_fp32() -> None:
    card = load_card("jetson-nano")
    fact = card.facts.fp16.model_copy(update={"value": False})
    card = card.model_copy(update={"facts": card.facts.model_copy(update={"fp16": fact})})
    result = plan(V1, card, Wishes("static"))
    assert (result.precision, codes(result)) == ("fp32", ["EKT101", "EKT104"])


def test_each_generation_gets_its_own_form_of_q_dq() -> None:
    xavier = plan(V1, load_card("jetson-agx-xavier"), Wishes("static"))
    orin = plan(V1, load_card("jetson-orin-nx"), Wishes("static"))
    thor = plan(V1, load_card("jetson-thor"), Wishes("static"))
    assert [(p.flavour, p.typing) for p in (xavier, orin, thor)] == [
        ("tensorrt8", "weak"), ("tensorrt", "weak"), ("tensorrt", "strong"),
    ]  # fmt: skip


def test_rewrites_follow_the_release() -> None:
    assert rewrites(plan(V3, load_card("jetson-agx-xavier"), Wishes("static"))) == [
        "fix_batch", "expand_hard_swish", "narrow_int64",
    ]  # fmt: skip
    assert rewrites(plan(V3, load_card("jetson-orin-nano"), Wishes("static", jetpack="6.0"))) == [
        "fix_batch", "narrow_int64",
    ]  # fmt: skip
    assert rewrites(plan(V3, load_card("jetson-agx-orin"), Wishes("none"))) == ["fix_batch", "to_float16"]
    assert rewrites(plan(V1, load_card("jetson-agx-orin"), Wishes("static"))) == ["fix_batch"]


@pytest.mark.parametrize(
    ("wanted", "tensorrt"),
    [(None, "11.4.1"), ("5.1", "8.5.2"), ("5.1.3", "8.5.2"), ("6.0", "8.6.2"), ("6.2", "10.3"), ("7.2", "11.4.1")],
)
def test_a_jetpack_chooses_the_software(wanted: str | None, tensorrt: str) -> None:
    assert plan(V1, load_card("jetson-agx-orin"), Wishes(jetpack=wanted)).tensorrt == tensorrt


@pytest.mark.parametrize("wanted", ["4.6", "9", "latest", ""])
def test_a_jetpack_that_the_device_never_had_is_ek001(wanted: str) -> None:
    with pytest.raises(UsageError, match=r"EK001 --jetpack: jetson-agx-orin has no .*take one of: 5.1 to 5.1.6"):
        plan(V1, load_card("jetson-agx-orin"), Wishes(jetpack=wanted))


def test_a_quantized_model_is_int8_where_that_exists_and_refused_where_not() -> None:
    assert plan(QUANTIZED, load_card("jetson-orin-nano"), Wishes()).precision == "int8"
    with pytest.raises(TargetError, match=r"EK702 jetson-nano: the model has Q/DQ nodes, .*the build would fail"):
        plan(QUANTIZED, load_card("jetson-nano"), Wishes())


def test_a_model_quantized_for_a_cpu_is_refused_by_every_gpu() -> None:
    cpu = ModelFacts(17, QUANTIZED.operators, quantized=True, symmetric=False)
    dynamic = ModelFacts(17, frozenset({"ConvInteger", "DynamicQuantizeLinear"}), quantized=True, symmetric=False)
    for name in (name for name in names() if load_card(name).is_gpu):
        with pytest.raises(TargetError, match=r"EK702 .*quantized for another target"):
            plan(cpu, load_card(name), Wishes())
        with pytest.raises(TargetError, match=r"EK702 .*TensorRT has no ConvInteger"):
            plan(dynamic, load_card(name), Wishes())


def test_what_nobody_has_verified_is_said() -> None:
    assert plan(V1, load_card("jetson-orin-nano"), Wishes()).cautions == (
        "the operators and the newest opset of TensorRT 10.3",
    )
    assert plan(V1, load_card("jetson-nano"), Wishes()).cautions == ()


@given(
    name=st.sampled_from(names()),
    quantize=st.sampled_from(["none", "dynamic", "static"]),
    opset=st.none() | st.integers(13, 21),
    hard_swish=st.booleans(),
)
def test_every_plan_keeps_to_its_card(name: str, quantize: Quantization, opset: int | None, hard_swish: bool) -> None:
    card, wishes = load_card(name), Wishes(quantize, opset)
    model = ModelFacts(opset or 17, frozenset({"Conv", "HardSwish"} if hard_swish else {"Conv"}))
    result = plan(model, card, wishes)
    assert result == plan(model, card, wishes)
    assert result.opset == opset_for(card, wishes)
    assert set(codes(result)) <= CHANGES.keys()
    if not card.is_gpu:
        assert (result.rewrites, result.changes, result.typing) == ((), (), None)
        return
    release = next(stack.release for stack in card.stacks if stack.tensorrt == result.tensorrt)
    assert result.opset is not None
    assert result.opset <= release.newest_opset
    assert result.precision != "int8" or card.facts.int8.value
    assert ("expand_hard_swish" in rewrites(result)) == (hard_swish and "HardSwish" in release.missing_operators)


def test_the_page_lists_every_change(repository: Path) -> None:
    rows = re.findall(r"^\| (EKT\d{3}) \| (.+) \|$", (repository / "docs" / "targets.md").read_text(), re.MULTILINE)
    assert dict(rows) == CHANGES
