"""What a lint rule is and what it finds."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.quantize.lint._view import View

TARGETS: Final = ("cpu", "cpu-avx2", "tensorrt")
CPU: Final = frozenset({"cpu", "cpu-avx2"})
TENSORRT: Final = frozenset({"tensorrt"})
ALL: Final = CPU | TENSORRT


class Severity(str, enum.Enum):
    """How much a finding matters."""

    ERROR = "error"  # refused, or computes something else than the graph says
    WARNING = "warning"  # costs speed or accuracy
    INFO = "info"  # worth knowing, may be meant


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault at one place.

    Attributes:
        rule: Stable id of the rule, e.g. `EKL101`.
        severity: How much it matters on the target.
        node: The node it concerns, by name, or by its first output where it has none.
        what: What was found there.
        why: Why it is a fault.
        fix: What to do about it.
        fixable: `fix` can do it.
    """

    rule: str
    severity: Severity
    node: str
    what: str
    why: str
    fix: str
    fixable: bool


@dataclasses.dataclass(frozen=True)
class Fault:
    """What differs from place to place in a finding; `severity` None takes the rule's."""

    node: str
    what: str
    fixable: bool = False
    severity: Severity | None = None


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        id: Stable id.
        title: What is wrong, in a few words.
        severity: How much it matters as a rule.
        targets: Where it is a fault.
        why: Reason.
        advice: What to do about it.
        check: Yields the faults of a graph for a target.
        fix: Mends the fault at a node, in place; returns whether the fault was still there and is gone. None when no
            fix is possible.
        changes: What the fix changes in what the model computes.
    """

    id: str
    title: str
    severity: Severity
    targets: frozenset[str]
    why: str
    advice: str
    check: Callable[[View, str], Iterator[Fault]]
    fix: Callable[[View, ir.Node], bool] | None = None
    changes: str = ""

    def findings(self, view: View, target: str) -> Iterator[Finding]:
        """Yield what the rule finds in a graph that is to run on `target`."""
        if target not in self.targets:
            return
        for fault in self.check(view, target):
            severity = fault.severity or self.severity
            yield Finding(self.id, severity, fault.node, fault.what, self.why, self.advice, fault.fixable)
