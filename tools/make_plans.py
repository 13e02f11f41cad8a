"""Write `docs/plans.md`: how each architecture gets onto each target, as the plans say now.

python tools/make_plans.py
"""

from __future__ import annotations

from pathlib import Path

from edgekit.files import write_bytes
from edgekit.pipeline.plans_page import plans_page

PAGE = Path(__file__).resolve().parent.parent / "docs" / "plans.md"


def main() -> None:
    """Make the page anew."""
    write_bytes(PAGE, plans_page().encode())


if __name__ == "__main__":
    main()
