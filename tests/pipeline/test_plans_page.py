"""The page of plans is what the plans say now."""

from __future__ import annotations

from pathlib import Path

from edgekit.models import FAMILIES
from edgekit.pipeline.plans_page import plans_page
from edgekit.targets import load_card, names


def test_the_committed_page_is_what_the_plans_give_now(repository: Path) -> None:
    committed = (repository / "docs" / "plans.md").read_text(encoding="utf-8")
    assert committed == plans_page(), "run python tools/make_plans.py"


def test_the_page_has_every_architecture_on_every_generation_of_every_target(repository: Path) -> None:
    lines = (repository / "docs" / "plans.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    for name in names():
        assert rows.count(name) == len(FAMILIES) * max(1, len(load_card(name).stacks))
