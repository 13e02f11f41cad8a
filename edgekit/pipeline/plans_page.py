"""The page of plans: every architecture on every target and generation of software."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from edgekit.models import FAMILIES, Overrides
from edgekit.pipeline.sources import open_source
from edgekit.spec import DEFAULT_OPSET
from edgekit.targets import BuildPlan, Card, ModelFacts, Wishes, facts_of, load_card, names, opset_for, plan

_HEADING = """# Plans

How each architecture gets onto each target when INT8 is asked for (`--quantize static`), with every JetPack of its
card. `tools/make_plans.py` writes this page from the cards and the plan; a test compares.
`edgekit targets --plan MODEL` shows the same for a model of yours. The codes and rewrites are explained in
[targets.md](targets.md). Nothing here has run on a Jetson: a plan is what the sources of the cards say.
"""
# What a plan needs to know of a model does not depend on its size.
_SMALL = Overrides(width=0.25, input_size=32, num_classes=10)


def plans_page() -> str:
    """Return the page as Markdown, one table an architecture."""
    cards = [load_card(name) for name in names()]
    return "\n".join([_HEADING, *(line for name in FAMILIES for line in _table(name, cards))]).rstrip() + "\n"


def _table(architecture: str, cards: list[Card]) -> Iterator[str]:
    yield f"## {FAMILIES[architecture].title}\n"
    yield "| target | JetPack | TensorRT | precision | opset | rewrites | codes |"
    yield "|---|---|---|---|---|---|---|"
    exported: dict[int, ModelFacts] = {}
    for card in itertools.chain.from_iterable(map(_one_stack_each, cards)):
        wishes = Wishes("static")
        opset = opset_for(card, wishes) or DEFAULT_OPSET
        if opset not in exported:
            exported[opset] = facts_of(open_source(architecture, _SMALL, opset).model)
        yield _row(plan(exported[opset], card, wishes))
    yield ""


def _one_stack_each(card: Card) -> list[Card]:
    return [card.model_copy(update={"stacks": (stack,)}) for stack in card.stacks] or [card]


def _row(chosen: BuildPlan) -> str:
    cells = (
        chosen.target,
        chosen.jetpack,
        chosen.tensorrt,
        chosen.precision,
        str(chosen.opset or DEFAULT_OPSET),
        ", ".join(rewrite.name for rewrite in chosen.rewrites),
        ", ".join(change.code for change in chosen.changes),
    )
    return f"| {' | '.join(cell or '–' for cell in cells)} |"
