"""`edgekit models`."""

from __future__ import annotations

from typing import Any

from edgekit.cli import _common as common


def command(as_json: common.JsonOption = False) -> None:
    """List the architectures known: name, widths, input sizes, parameters, MACs."""
    from edgekit.models import FAMILIES, build, profile
    from edgekit.spec import ModelSpec

    rows: list[dict[str, Any]] = []
    for family in FAMILIES.values():
        spec = ModelSpec(family.name)
        cost = profile(build(spec), spec.input_size)
        rows.append(
            {
                "name": family.name,
                "title": family.title,
                "widths": list(family.widths),
                "input_sizes": list(family.input_sizes),
                "parameters": cost.parameters,
                "macs": cost.macs,
                "source": family.source,
            }
        )
    if as_json:
        common.print_json(rows)
        return
    _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("name", "published widths", "published input sizes", box=None, pad_edge=False)
    table.add_column("parameters", justify="right")
    table.add_column("MACs", justify="right")
    table.add_column("source")
    for row in rows:
        table.add_row(
            row["name"],
            " ".join(f"{width:g}" for width in row["widths"]),
            " ".join(map(str, row["input_sizes"])),
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:.1f} M",
            row["source"],
        )
    console = common.output_console()
    console.print(table)
    console.print("Parameters and MACs at width 1, 224x224, 1000 classes. Any width and any input size from 32 works.")
