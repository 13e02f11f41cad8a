"""`edgekit init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import _common as common
from edgekit.errors import UsageError

PIPELINE_FILE = Path("edgekit.toml")


def command(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="File to write.")] = PIPELINE_FILE,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of such files instead, for your editor.")
    ] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Write a commented pipeline file that runs as it is."""
    if schema:
        from edgekit.pipeline.run import json_schema

        common.print_json(json_schema())
        return
    from edgekit.files import write_bytes
    from edgekit.shipped import shipped_pipeline

    if path.exists() and not force:
        raise UsageError("EK003", "the file is there already", where=str(path), hint="add --force to write over it")
    write_bytes(path, shipped_pipeline().read_bytes())
    if as_json:
        common.print_json({"pipeline": str(path)})
    else:
        common.output_console().print(f"wrote {path}; edgekit run {path} runs it", soft_wrap=True)
