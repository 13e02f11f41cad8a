"""Write `docs/sweep.schema.json`, which editors check sweep files with.

python tools/make_sweep_schema.py
"""

from __future__ import annotations

from pathlib import Path

from edgekit.files import write_json
from edgekit.pipeline.sweep import json_schema


def main() -> None:
    """Write the schema."""
    write_json(Path(__file__).resolve().parent.parent / "docs" / "sweep.schema.json", json_schema())


if __name__ == "__main__":
    main()
