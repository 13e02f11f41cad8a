"""What every part of `report.json` is made of."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Sha256: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Positive: TypeAlias = Annotated[int, Field(ge=1)]
Percent: TypeAlias = Annotated[float, Field(ge=0, le=100)]
Milliseconds: TypeAlias = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A part of the report: every field is there, none is unknown, no number is NaN or infinite."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
