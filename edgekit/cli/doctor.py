"""`edgekit doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from edgekit.cli import _common as common

if TYPE_CHECKING:
    from edgekit.pipeline.doctor import Diagnosis


def command(as_json: common.JsonOption = False) -> None:
    """Tell what is installed, what this CPU can do, what is missing and how to get it."""
    from edgekit.pipeline.doctor import examine

    diagnosis = examine()
    if as_json:
        common.print_json(diagnosis.as_dict())
    else:
        _print(diagnosis)
    if not diagnosis.healthy:
        raise typer.Exit(common.CHECK_FAILED)


def _print(diagnosis: Diagnosis) -> None:
    from rich.table import Table

    console = common.output_console()
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in diagnosis.findings:
        mark = "ok" if finding.ok else ("MISSING" if finding.required else "absent")
        table.add_row(mark, finding.name, finding.detail, finding.advice)
    console.print(table)
    console.print("everything that edgekit needs is there" if diagnosis.healthy else "edgekit cannot do its job here")
