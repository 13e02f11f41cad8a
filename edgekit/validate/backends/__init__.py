"""What runs a model that is timed: one file a runtime, behind one small protocol."""

from __future__ import annotations

from edgekit.validate.backends._backend import Backend, BackendName, OpenModel
from edgekit.validate.backends._choose import choose_backend

__all__ = ["Backend", "BackendName", "OpenModel", "choose_backend"]
