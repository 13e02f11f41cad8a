"""Where what ships lies: data folders beside the package in a checkout or inside it, the checkpoint always inside."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import DataError

_PACKAGE = Path(__file__).resolve().parent
_CHECKPOINT, _PIPELINE = "assets/mobilenet_cifar10.safetensors", "assets/edgekit.toml"


def shipped(folder: str) -> Path:
    """Return the path of a folder that ships with edgekit, e.g. `calibration`.

    The wheel packs these folders into the package; a checkout, and an editable install of one, has them at
    its top.

    Raises:
        DataError: EK209 when the installation does not have it.
    """
    installed = _PACKAGE / "_shipped" / folder
    if installed.is_dir():
        return installed
    checkout = _PACKAGE.parent
    # Without this file the parent is site-packages, whose folders belong to others.
    if (checkout / "pyproject.toml").is_file() and (checkout / folder).is_dir():
        return checkout / folder
    raise DataError(
        "EK209", "this installation of edgekit lacks the folder", where=folder, hint="install edgekit again"
    )


def shipped_checkpoint() -> Path:
    """Return the path of the checkpoint that ships with edgekit."""
    return _PACKAGE / _CHECKPOINT


def shipped_pipeline() -> Path:
    """Return the path of the commented pipeline file that `edgekit init` copies."""
    return _PACKAGE / _PIPELINE
