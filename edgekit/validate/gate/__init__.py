"""The regression gate: limits, the verdict on them, and a baseline that can be committed. Nothing here runs a model."""

from __future__ import annotations

from edgekit.validate.gate._baseline import (
    BASELINE_SCHEMA,
    Answers,
    Baseline,
    BaselineImages,
    BaselineModel,
    BaselineSpeed,
    damaged,
    evidence_against,
    labels_sha256,
    pack_answers,
    pack_correct,
    parse_baseline,
    require_same_classes,
    require_same_images,
)
from edgekit.validate.gate._evidence import Evidence, evidence_of, ratio_of_p99
from edgekit.validate.gate._judge import judge, judge_evidence, worst
from edgekit.validate.gate._limits import DEFAULT_LIMITS, Limits, SizeLimit

__all__ = [
    "BASELINE_SCHEMA",
    "DEFAULT_LIMITS",
    "Answers",
    "Baseline",
    "BaselineImages",
    "BaselineModel",
    "BaselineSpeed",
    "Evidence",
    "Limits",
    "SizeLimit",
    "damaged",
    "evidence_against",
    "evidence_of",
    "judge",
    "judge_evidence",
    "labels_sha256",
    "pack_answers",
    "pack_correct",
    "parse_baseline",
    "ratio_of_p99",
    "require_same_classes",
    "require_same_images",
    "worst",
]
