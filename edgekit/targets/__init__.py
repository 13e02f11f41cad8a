"""What each target can do (the cards of `engines/`), and the plan for a model on one of them."""

from edgekit.targets._card import Card, Fact, Release, Stack, load_card, names, read_card
from edgekit.targets._model_facts import ModelFacts, facts_of
from edgekit.targets._plan import CHANGES, BuildPlan, Change, Rewrite, Wishes, opset_for, plan

__all__ = [
    "CHANGES",
    "BuildPlan",
    "Card",
    "Change",
    "Fact",
    "ModelFacts",
    "Release",
    "Rewrite",
    "Stack",
    "Wishes",
    "facts_of",
    "load_card",
    "names",
    "opset_for",
    "plan",
    "read_card",
]
