"""`edgekit targets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from edgekit.cli import _common as common
from edgekit.spec import Quantization

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.targets import BuildPlan, Card

UNKNOWN = "?"


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A target, or the path of a card of your own (.toml).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--plan", metavar="MODEL", help="Show how this model would get onto each target, or onto NAME."),
    ] = None,
    quantize: Annotated[str, typer.Option(help="For --plan: none, dynamic or static.")] = "static",
    jetpack: Annotated[str | None, typer.Option(help="For --plan with NAME: which JetPack. Default: newest.")] = None,
    as_json: common.JsonOption = False,
) -> None:
    """List the targets and what each can do; every fact with its source and how sure it is."""
    from edgekit.targets import load_card, names

    wanted = common.choice(quantize, get_args(Quantization), "--quantize")
    cards = [load_card(name)] if name else [load_card(known) for known in names()]
    console = common.output_console()
    if model is not None:
        from edgekit.pipeline.targeting import plan_model

        plans = plan_model(model, cards, wanted, jetpack)
        if as_json:
            common.print_json([_plan_facts(card, plan) for card, plan in zip(cards, plans, strict=True)])
        else:
            _print_plans(cards, plans, console)
    elif as_json:
        common.print_json([_facts(card) for card in cards])
    elif name:
        _print_card(cards[0], console)
    else:
        _print_cards(cards, console)


def _facts(card: Card) -> dict[str, Any]:
    return {
        **card.model_dump(),
        "stacks": [{**stack.model_dump(), "release": stack.release.model_dump()} for stack in card.stacks],
    }


def _plan_facts(card: Card, plan: BuildPlan | str) -> dict[str, Any]:
    import dataclasses

    return {"target": card.name, "refused": plan} if isinstance(plan, str) else dataclasses.asdict(plan)


def _print_cards(cards: list[Card], console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("target", "compute", "GB", "GB/s", "INT8", "FP16", "TensorRT"):
        table.add_column(title, justify="right" if title.startswith("GB") else "left")
    for card in cards:
        facts = card.facts
        table.add_row(
            card.name,
            str(facts.compute_capability.value) if facts.compute_capability else "",
            f"{facts.memory_gb.value:g}" if facts.memory_gb else "",
            f"{facts.bandwidth_gb_s.value:g}" if facts.bandwidth_gb_s else "",
            "yes" if facts.int8.value else "no",
            "yes" if facts.fp16.value else "no",
            " ".join(stack.tensorrt for stack in card.stacks) or "- (runs in onnxruntime or OpenVINO)",
        )
    console.print(table)
    console.print("edgekit targets NAME shows the sources; nothing here was measured on a Jetson.", soft_wrap=True)


def _print_card(card: Card, console: Console) -> None:
    from rich.table import Table

    console.print(f"{card.name}: {card.title}")
    table = Table("fact", "value", "confidence", "source", box=None, pad_edge=False)
    sources: list[str] = []
    for name, value, confidence, source in _rows(card):
        if source and source not in sources:
            sources.append(source)
        place = f"[{sources.index(source) + 1}]" if source else ""
        table.add_row(*map(common.printable, (name, value, confidence, place)))
    console.print(table)
    for number, source in enumerate(sources, start=1):
        console.print(common.printable(f"[{number}] {source}"), soft_wrap=True)


def _rows(card: Card) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, value, confidence and source of each fact of a card."""
    for field, fact in card.facts:
        if fact is None:
            yield field, UNKNOWN, "", ""
        else:
            value = {True: "yes", False: "no"}[fact.value] if isinstance(fact.value, bool) else f"{fact.value}"
            yield field, value, fact.confidence, card.sources[fact.source]
    for stack in card.stacks:
        parts = {"Jetson Linux": stack.l4t, "CUDA": stack.cuda, "cuDNN": stack.cudnn, "Python": stack.python}
        others = "".join(f", {part} {version}" for part, version in parts.items() if version)
        name = f"JetPack {stack.jetpack}" if stack.jetpack else "software"
        yield name, f"TensorRT {stack.tensorrt}{others}", stack.confidence, card.sources[stack.source]
        if stack.container:
            yield "  container", stack.container, "secondary", card.sources[stack.container_source]
        release = stack.release
        missing = f", no {', '.join(release.missing_operators)}" if release.missing_operators else ""
        reads = f"opset {release.newest_opset}, {release.typing} typing{missing}"
        yield f"  TensorRT {release.version}", reads, release.confidence, release.source_text
        yield "  engines elsewhere", release.portability, release.confidence, release.source_text


def _print_plans(cards: list[Card], plans: list[BuildPlan | str], console: Console) -> None:
    from rich.table import Table

    table = Table("target", "TensorRT", "precision", "opset", "rewrites", box=None, pad_edge=False)
    remarks = []
    for card, plan in zip(cards, plans, strict=True):
        if isinstance(plan, str):
            table.add_row(card.name, "", "refused", "", "")
            remarks.append(f"{card.name}: {plan}")
            continue
        rewrites = " ".join(rewrite.name for rewrite in plan.rewrites)
        table.add_row(card.name, plan.tensorrt or "-", plan.precision, str(plan.opset or ""), rewrites or "-")
        remarks += [f"{card.name}: {change.code} {change.what}" for change in plan.changes]
    console.print(table)
    for remark in remarks:
        console.print(common.printable(remark), soft_wrap=True)
