"""The plan for one model on one target: decided before any work, as data with reasons."""

from __future__ import annotations

import dataclasses
from typing import Literal

from edgekit.errors import TargetError, UsageError
from edgekit.spec import DEFAULT_OPSET, Quantization
from edgekit.targets._card import Card, Stack, numbers
from edgekit.targets._model_facts import INTEGER_OPERATORS, ModelFacts

EnginePrecision = Literal["int8", "fp16", "fp32"]
# The form of int8 that a file for another machine has, where the target itself has no INT8.
CPU_FLAVOUR = "cpu"
# TensorRT takes what its tactics ask for; on a Jetson the same memory also holds the desktop and the weights.
WORKSPACE_SHARE, LARGEST_WORKSPACE_MIB = 0.25, 4096
UNKNOWN_WORKSPACE_MIB = 1024

CHANGES = {
    "EKT101": "the target has no INT8: FP16 is planned",
    "EKT102": "dynamic int8 is not for TensorRT: FP16 is planned",
    "EKT103": "the opset is newer than the target's TensorRT reads: an older one is planned",
    "EKT104": "the target runs no FP16: FP32 is planned",
}


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What is asked of a target.

    Attributes:
        quantize: `static` asks for INT8; `none` leaves the precision to the target.
        opset: Opset to write; None takes the best for the target.
        jetpack: Version of JetPack, or of TensorRT on x86; None takes the newest that the card has.
    """

    quantize: Quantization = "none"
    opset: int | None = None
    jetpack: str | None = None


@dataclasses.dataclass(frozen=True)
class Rewrite:
    """A change to the graph that the target needs, and why."""

    name: str
    why: str


@dataclasses.dataclass(frozen=True)
class Change:
    """A wish that the target cannot grant: a key of `CHANGES`, and what is planned instead."""

    code: str
    what: str


@dataclasses.dataclass(frozen=True)
class BuildPlan:
    """How one model gets onto one target.

    Attributes:
        target: Name of the card.
        jetpack: Software generation it is for; empty where there is none.
        tensorrt: Version of TensorRT; empty for a CPU.
        precision: What the convolutions compute in.
        flavour: Q/DQ form of the int8 file, where one is made.
        opset: Opset of the ONNX file; None leaves that of the model.
        typing: Whether flags (`weak`) or the file (`strong`) choose the precision; None for a CPU.
        workspace_mib: Memory that a build may use for tactics, in MiB; None for a CPU.
        rewrites: What must change in the graph.
        changes: Wishes that are not granted.
        cautions: Facts that this plan leans on and that nobody has verified.
    """

    target: str
    jetpack: str
    tensorrt: str
    precision: EnginePrecision
    flavour: str
    opset: int | None
    typing: Literal["weak", "strong"] | None
    workspace_mib: int | None
    rewrites: tuple[Rewrite, ...] = ()
    changes: tuple[Change, ...] = ()
    cautions: tuple[str, ...] = ()


def plan(model: ModelFacts, card: Card, wishes: Wishes) -> BuildPlan:
    """Decide precision, opset and rewrites for a model on a target.

    Args:
        model: The model; a quantized one asks for INT8 by being what it is.
        card: The target.
        wishes: What is asked for.

    Raises:
        TargetError: EK702 when TensorRT reads no such model on that target, whatever is done to it.
        UsageError: EK001 when the card has no such JetPack.
    """
    if not card.is_gpu:
        precision: EnginePrecision = "int8" if model.quantized or wishes.quantize != "none" else "fp32"
        return BuildPlan(card.name, "", "", precision, card.name, wishes.opset, None, None)
    stack = choose_stack(card, wishes.jetpack)
    _refuse(model, card, stack)
    precision, precision_changes = _precision(model, card, wishes)
    opset, opset_changes = _opset(stack, wishes.opset)
    release = stack.release
    flavour = CPU_FLAVOUR if precision != "int8" else "tensorrt8" if release.float_weights else "tensorrt"
    return BuildPlan(
        card.name,
        stack.jetpack,
        stack.tensorrt,
        precision,
        flavour,
        opset,
        release.typing,
        _workspace(card),
        _rewrites(model, stack, precision, opset),
        (*precision_changes, *opset_changes),
        _cautions(card, stack, precision),
    )


def choose_stack(card: Card, wanted: str | None) -> Stack:
    """Return the newest software generation of a card, or the one of a JetPack (on x86: TensorRT) version.

    Raises:
        UsageError: EK001 when the card has none of that version.
    """
    if wanted is None:
        return card.stacks[-1]
    for stack in reversed(card.stacks):
        if _covers(stack.jetpack or stack.tensorrt, wanted):
            return stack
    known = ", ".join(stack.jetpack or stack.tensorrt for stack in card.stacks)
    raise UsageError(
        "EK001", f"{card.name} has no {wanted!r} on its card", where="--jetpack", hint=f"take one of: {known}"
    )


def _covers(span: str, wanted: str) -> bool:
    """Tell whether `6.1 to 6.2.1`, or one version, covers the wanted one; `6.1` wants any 6.1.x too."""
    ends = [numbers(end) for end in span.split(" to ")]
    number = numbers(wanted)
    low, high = ends[0], ends[-1]
    return bool(number) and low[: len(number)] <= number and number <= (*high, 999)


def _refuse(model: ModelFacts, card: Card, stack: Stack) -> None:
    integer = sorted(model.operators & INTEGER_OPERATORS)
    if integer:
        raise TargetError(
            "EK702",
            f"TensorRT has no {integer[0]}, which dynamic int8 and onnxruntime's operator form are made of",
            where=card.name,
            hint="give the FP32 model, or quantize it with --quantize static --target " + card.name,
        )
    if model.quantized and not model.symmetric:
        raise TargetError(
            "EK702",
            "the model is quantized for another target: TensorRT wants int8 with zero points of 0 and float biases",
            where=card.name,
            hint=f"give the FP32 model, or quantize it with --quantize static --target {card.name}",
        )
    if model.quantized and not card.facts.int8.value:
        raise TargetError(
            "EK702",
            f"the model has Q/DQ nodes, and TensorRT {stack.tensorrt} has no INT8 on compute capability "
            f"{_capability(card)}: the build would fail",
            where=card.name,
            hint="give the FP32 model: it is built in FP16",
        )


def _precision(model: ModelFacts, card: Card, wishes: Wishes) -> tuple[EnginePrecision, tuple[Change, ...]]:
    facts = card.facts
    changes = []
    if model.quantized:
        return "int8", ()
    if wishes.quantize in ("static", "qat"):
        if facts.int8.value:
            return "int8", ()
        changes.append(
            Change(
                "EKT101",
                f"{card.title} has no INT8 in TensorRT (compute capability {_capability(card)}): FP16 is planned; an "
                "int8 file is for CPUs",
            )
        )
    elif wishes.quantize == "dynamic":
        changes.append(Change("EKT102", "dynamic int8 is made of operators that TensorRT lacks: FP16 is planned"))
    if facts.fp16.value:
        return "fp16", tuple(changes)
    changes.append(Change("EKT104", f"{card.title} runs no FP16: FP32 is planned"))
    return "fp32", tuple(changes)


def opset_for(card: Card, wishes: Wishes) -> int | None:
    """Return the opset to write a model in before anything else is known of it; None leaves the default.

    Raises:
        UsageError: EK001 when the card has no such JetPack.
    """
    return _opset(choose_stack(card, wishes.jetpack), wishes.opset)[0] if card.is_gpu else wishes.opset


def _opset(stack: Stack, wanted: int | None) -> tuple[int, tuple[Change, ...]]:
    newest = stack.release.newest_opset
    if wanted is None or wanted <= newest:
        return wanted or min(DEFAULT_OPSET, newest), ()
    what = f"TensorRT {stack.tensorrt} reads opset {newest} at most, {wanted} was asked for: {newest} is planned"
    return newest, (Change("EKT103", what),)


def _rewrites(model: ModelFacts, stack: Stack, precision: EnginePrecision, opset: int) -> tuple[Rewrite, ...]:
    release = stack.release
    wanted = [
        (
            "fix_batch",
            True,
            "an engine for one frame at a time needs no profile, and old parsers plan a fixed shape better",
        ),
        (
            "lower_opset",
            model.opset > opset,
            f"the model has opset {model.opset}, TensorRT {stack.tensorrt} gets {opset}",
        ),
        (
            "expand_hard_swish",
            "HardSwish" in model.operators and "HardSwish" in release.missing_operators,
            f"the parser of TensorRT {stack.tensorrt} has no HardSwish: it becomes x · clip(x + 3, 0, 6) / 6",
        ),
        (
            "narrow_int64",
            model.has_int64 and not release.native_int64,
            f"TensorRT {stack.tensorrt} casts INT64 to INT32 and clamps: what does not fit is found beforehand",
        ),
        (
            "to_float16",
            precision == "fp16" and release.typing == "strong",
            f"TensorRT {stack.tensorrt} is strongly typed: FP16 must stand in the file",
        ),
    ]
    return tuple(Rewrite(name, why) for name, needed, why in wanted if needed)


def _workspace(card: Card) -> int:
    memory = card.facts.memory_gb
    if memory is None:
        return UNKNOWN_WORKSPACE_MIB
    return min(int(memory.value * 1024 * WORKSPACE_SHARE), LARGEST_WORKSPACE_MIB)


def _cautions(card: Card, stack: Stack, precision: EnginePrecision) -> tuple[str, ...]:
    release = stack.release
    result = []
    if stack.confidence == "unverified":
        result.append(f"that {card.title} has TensorRT {stack.tensorrt}")
    if release.confidence == "unverified":
        result.append(f"the operators and the newest opset of TensorRT {stack.tensorrt}")
    fact = card.facts.int8 if precision == "int8" else card.facts.fp16
    if fact.confidence == "unverified":
        result.append(f"that {card.title} computes in {precision.upper()}")
    return tuple(result)


def _capability(card: Card) -> str:
    fact = card.facts.compute_capability
    return fact.value if fact else "unknown"
