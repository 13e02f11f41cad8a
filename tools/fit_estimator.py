"""Fit `engines/tensorrt/estimator.toml` to the anchors in it, and write what came out back into it.

    python tools/fit_estimator.py

To add an anchor, add a table with its source and any two times for the estimates, and run this.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.files import write_bytes
from edgekit.pipeline.estimating import refitted
from edgekit.targets import estimator_text, load_estimator

HEADING = """\
Times per frame that others published, and the shares of a device's peaks that tools/fit_estimator.py fitted to them.
Devices with tensor cores have one anchor: there the start (bandwidth share, compute share, microseconds a layer), which
nobody has verified, weighs as much. At which clocks a time was taken its source rarely says."""


def main() -> None:
    """Fit and write."""
    path = Path(__file__).resolve().parent.parent / "engines" / "tensorrt" / "estimator.toml"
    write_bytes(path, estimator_text(refitted(load_estimator(path)), HEADING).encode())


if __name__ == "__main__":
    main()
