"""`edgekit reproduce`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import _common as common

if TYPE_CHECKING:
    from edgekit.pipeline.run import Reproduction


def command(
    lock: Annotated[Path, typer.Argument(metavar="[LOCK]", help="Lock file that edgekit run wrote.")] = Path(
        "edgekit.lock"
    ),
    output: Annotated[Path | None, typer.Option(help="Folder that keeps the results. Default: thrown away.")] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Make everything that a lock file names again, from nothing; exit 1 unless every byte is the same."""
    from edgekit.pipeline.run import reproduce

    with common.progress() as progress:
        made = reproduce(lock, output=output, progress=progress)
    if as_json:
        common.print_json({"same": made.same, **dataclasses.asdict(made)})
    else:
        _print(made)
    if not made.same:
        raise typer.Exit(common.CHECK_FAILED)


def _print(made: Reproduction) -> None:
    console = common.output_console()
    for file in made.files:
        console.print(f"{'same' if file.same else 'DIFFERS'}  {file.stage}/{file.file}", soft_wrap=True)
    for kind, differences in (("source", made.sources), ("here", made.environment)):
        for difference in differences:
            line = f"{kind}: {difference.what} was {difference.was} and is {difference.now}"
            console.print(common.printable(line), soft_wrap=True)
    if made.same:
        console.print(f"all {len(made.files)} files are the same, byte for byte")
    elif made.sources:
        console.print("nothing was made: these are not the sources of the lock file")
    else:
        console.print(f"{sum(not file.same for file in made.files)} of {len(made.files)} files differ")
