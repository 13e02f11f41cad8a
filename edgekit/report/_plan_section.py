"""The part of `report.json` about a TensorRT target."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.report._section import Positive, Section
from edgekit.targets import BuildPlan


class PlannedRewrite(Section):
    """A change to the graph that the target needs."""

    name: str = Field(description="Name of the rewrite.")
    why: str = Field(description="Why the target needs it.")


class PlannedChange(Section):
    """A wish that the target cannot grant."""

    code: str = Field(description="Stable code, EKT….")
    what: str = Field(description="What was wished, and what is planned instead.")


class PlanSection(Section):
    """How the model gets onto a TensorRT target."""

    jetpack: str | None = Field(description="Software generation it is for; null on x86.")
    tensorrt: str = Field(description="Version of TensorRT.")
    precision: Literal["int8", "fp16", "fp32"] = Field(description="What the engine computes in.")
    typing: Literal["weak", "strong"] = Field(description="Whether flags or the file choose the precision.")
    workspace_mib: Positive = Field(description="Memory that a build may use for tactics, in MiB.")
    rewrites: tuple[PlannedRewrite, ...] = Field(description="What must change in the graph before the build.")
    changes: tuple[PlannedChange, ...] = Field(description="Wishes that the target cannot grant.")
    cautions: tuple[str, ...] = Field(description="What the plan leans on and nobody has verified.")

    @classmethod
    def of(cls, plan: BuildPlan) -> PlanSection:
        """Return the section for a plan whose target has TensorRT."""
        assert plan.typing is not None
        assert plan.workspace_mib is not None
        return cls(
            jetpack=plan.jetpack or None,
            tensorrt=plan.tensorrt,
            precision=plan.precision,
            typing=plan.typing,
            workspace_mib=plan.workspace_mib,
            rewrites=tuple(PlannedRewrite(name=rewrite.name, why=rewrite.why) for rewrite in plan.rewrites),
            changes=tuple(PlannedChange(code=change.code, what=change.what) for change in plan.changes),
            cautions=plan.cautions,
        )
