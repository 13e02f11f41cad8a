"""What each target can do (the cards of `engines/`), the plan for a model on one of them, and what it may take."""

from edgekit.targets._alignment import CHANNEL_MULTIPLE, channel_multiple
from edgekit.targets._card import Card, Fact, Release, Stack, load_card, names, read_card
from edgekit.targets._estimate import Coefficients, LayerCost, LayerTime, Peaks, estimate, peaks_of, total_ms
from edgekit.targets._estimator import Anchor, Estimator, Family, estimator_text, load_estimator
from edgekit.targets._fit import Observation, fit
from edgekit.targets._layer_costs import layer_costs
from edgekit.targets._model_facts import ModelFacts, facts_of
from edgekit.targets._plan import (
    CHANGES,
    BuildPlan,
    Change,
    EnginePrecision,
    Rewrite,
    Wishes,
    choose_stack,
    opset_for,
    plan,
)

__all__ = [
    "CHANGES",
    "CHANNEL_MULTIPLE",
    "Anchor",
    "BuildPlan",
    "Card",
    "Change",
    "Coefficients",
    "EnginePrecision",
    "Estimator",
    "Fact",
    "Family",
    "LayerCost",
    "LayerTime",
    "ModelFacts",
    "Observation",
    "Peaks",
    "Release",
    "Rewrite",
    "Stack",
    "Wishes",
    "channel_multiple",
    "choose_stack",
    "estimate",
    "estimator_text",
    "facts_of",
    "fit",
    "layer_costs",
    "load_card",
    "load_estimator",
    "names",
    "opset_for",
    "peaks_of",
    "plan",
    "read_card",
    "total_ms",
]
