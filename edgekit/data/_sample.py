"""The images that ship with edgekit, so that the main job runs on a fresh machine without a network."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgekit.data._image_set import ImageSet
from edgekit.data._open import open_images
from edgekit.errors import DataError, EdgekitError
from edgekit.files import sha256_of
from edgekit.shipped import shipped
from edgekit.spec import Preprocessing


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """The CIFAR-10 sample.

    Attributes:
        calibration: 512 training images, balanced over the classes.
        evaluation: 1,000 test images, 100 of each class.
        class_names: The ten class names in order of class index.
        preprocessing: What the model that ships expects.
        manifest: `manifest.json` as read: source, SHA-256 of each archive and image, counts.
    """

    calibration: ImageSet
    evaluation: ImageSet
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    manifest: Mapping[str, Any]


def sample(folder: Path | None = None) -> Sample:
    """Open the sample that ships with edgekit, after checking its archives against the manifest.

    Args:
        folder: Where it lies; None takes the one that ships.

    Raises:
        DataError: EK209 when the manifest or an archive is missing or damaged.
    """
    folder = shipped("calibration") if folder is None else folder
    place = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        class_names = tuple(str(name) for name in manifest["class_names"])
        return Sample(
            calibration=_open_checked(folder, manifest["sets"]["calibration"], class_names),
            evaluation=_open_checked(folder, manifest["sets"]["evaluation"], class_names),
            class_names=class_names,
            preprocessing=Preprocessing.from_json(json.dumps(manifest["preprocessing"]), where=str(place)),
            manifest=MappingProxyType(manifest),
        )
    except OSError as error:
        raise _damaged(f"cannot be read ({error.strerror})", error.filename or place) from error
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(f"is not the manifest of a sample ({error})", place) from error
    except EdgekitError as error:
        if error.code == "EK209":
            raise
        raise _damaged(f"is damaged ({error.what})", error.where or place) from error


def _open_checked(folder: Path, entry: Mapping[str, Any], class_names: tuple[str, ...]) -> ImageSet:
    archive = folder / entry["file"]
    if sha256_of(archive) != entry["sha256"]:
        raise _damaged("differs from what the manifest says", archive)
    return open_images(archive, class_names=class_names)


def _damaged(what: str, where: object) -> DataError:
    return DataError("EK209", what, where=str(where), hint="install edgekit again, or restore the file with git")
