"""`edgekit cache`."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import _common as common
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.pipeline.run import Listed

_DAY = 86_400.0


def command(
    action: Annotated[str, typer.Argument(metavar="ls|gc", help="ls: list the results; gc: remove old ones.")],
    folder: Annotated[Path, typer.Option("--cache", help="Folder of the cache, [run] cache of a pipeline.")] = Path(
        ".edgekit"
    ),
    older_than: Annotated[
        float, typer.Option("--older-than", min=0.0, metavar="DAYS", help="gc: days since a run last used it.")
    ] = 30.0,
    shards: Annotated[
        bool, typer.Option("--shards", help="The indexes of tar shards, which all runs of this user share, instead.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="gc: remove everything.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="gc: only say what would be removed.")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """List the results that edgekit run keeps, or remove those that are old, damaged or were never finished."""
    from edgekit.pipeline.run import Cache

    chosen = common.choice(action, ("ls", "gc"), "the first word")
    if shards:
        _indexes(chosen, -1.0 if everything else older_than, dry_run=dry_run, as_json=as_json)
        return
    if not folder.is_dir():
        raise UsageError(
            "EK011", "there is no cache", where=str(folder), hint="edgekit run makes it; name its folder with --cache"
        )
    with Cache(folder).used(alone=chosen == "gc") as cache:
        entries = cache.list()
        if chosen == "ls":
            _print(entries, folder, "results", as_json=as_json)
            return
        oldest = time.time() - older_than * _DAY
        going = [entry for entry in entries if everything or entry.used < oldest or entry.fault.startswith("EK014")]
        if not dry_run:
            for entry in going:
                cache.remove(entry.name)
    _print_removed(going, "results", dry_run=dry_run, as_json=as_json)


def _indexes(action: str, unused_days: float, *, dry_run: bool, as_json: bool) -> None:
    """List or remove the indexes of tar shards, which are kept apart from the results."""
    from edgekit.data import drop_indexes, index_folder, kept_indexes
    from edgekit.pipeline.run import Listed

    found = kept_indexes() if action == "ls" else drop_indexes(unused_days, dry_run=dry_run)
    listed = [Listed(kept.key, kept.size_bytes, kept.used, "") for kept in found]
    if action == "ls":
        _print(tuple(listed), index_folder(), "indexes", as_json=as_json)
    else:
        _print_removed(listed, "indexes", dry_run=dry_run, as_json=as_json)


def _print(entries: tuple[Listed, ...], folder: Path, what: str, *, as_json: bool) -> None:
    if as_json:
        common.print_json([dataclasses.asdict(entry) for entry in entries])
        return
    from rich.table import Table

    console = common.output_console()
    table = Table("shard" if what == "indexes" else "result", box=None, pad_edge=False)
    for title in ("bytes", "last used"):
        table.add_column(title, justify="right")
    table.add_column("")
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        table.add_row(common.printable(entry.name), f"{entry.size_bytes:,}", used, common.printable(entry.fault))
    console.print(table)
    console.print(
        f"{len(entries)} {what}, {sum(entry.size_bytes for entry in entries):,} bytes in {folder}/", soft_wrap=True
    )


def _print_removed(going: list[Listed], what: str, *, dry_run: bool, as_json: bool) -> None:
    total = sum(entry.size_bytes for entry in going)
    if as_json:
        common.print_json({"removed": [entry.name for entry in going], "bytes": total, "dry_run": dry_run})
        return
    verb = "would remove" if dry_run else "removed"
    common.output_console().print(f"{verb} {len(going)} {what}, {total:,} bytes")
