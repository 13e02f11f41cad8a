"""Make the sample in `calibration/` from the CIFAR-10 archive: the same archive gives the same bytes.

    python tools/make_sample.py ../shared/data/cifar10.zip

The archive holds JPEG files `train/<class>/<image>` and `test/<class>/<image>`; their bytes stay as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.data import ImageSet, open_images, require_labels
from edgekit.files import sha256_of, write_bytes, write_json
from edgekit.spec import Preprocessing

CALIBRATION_COUNT = 512
EVALUATION_COUNT = 1000

# What the model that ships expects; a test holds the two together.
PREPROCESSING = Preprocessing(input_size=128, resize=136, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

# The oldest time that zip can hold, so that no clock is in the bytes.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)

SOURCE = {
    "title": "CIFAR-10",
    "authors": "Alex Krizhevsky, Vinod Nair, Geoffrey Hinton",
    "url": "https://www.cs.toronto.edu/~kriz/cifar.html",
    "citation": "Alex Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
    "licence": "none stated by the authors; they ask that the report be cited",
    "form": "published as raw 32x32 pixels; the archive below holds them as JPEG, copied here byte for byte",
}


def balanced(images: ImageSet, count: int) -> ImageSet:
    """Return `count` images, as many of each class, evenly spaced within the class.

    Where `count` does not divide by the classes, the first ones have one image more.
    """
    labels = require_labels(images)
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    chosen: list[int] = []
    for place, label in enumerate(sorted(members)):
        share = count // len(members) + (place < count % len(members))
        of_class = members[label]
        chosen.extend(of_class[step * len(of_class) // share] for step in range(share))
    return images.select(chosen)


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return an uncompressed zip archive whose bytes depend on nothing but names and contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name, _TIMESTAMP)
            member.create_system = 3
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return stream.getvalue()


def write_set(images: ImageSet, source_folder: str, path: Path, class_names: Sequence[str]) -> dict[str, Any]:
    """Write one set as an archive; return its entry in the manifest."""
    contents = {name: images.encoded(index) for index, name in enumerate(images.identifiers)}
    content = packed({"classes.txt": classes_text(class_names), **contents})
    write_bytes(path, content)
    labels = require_labels(images)
    return {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "source_folder": source_folder,
        "count": len(images),
        "count_of_class": {name: labels.count(index) for index, name in enumerate(class_names)},
        "sha256_of_image": {name: hashlib.sha256(image).hexdigest() for name, image in contents.items()},
    }


def classes_text(class_names: Sequence[str]) -> bytes:
    """Return the `classes.txt` whose folders are named as their classes."""
    return "".join(f"{name}\n" for name in class_names).encode()


def make(archive: Path, folder: Path) -> None:
    """Write both sets, `classes.txt` and `manifest.json` into `folder`."""
    train, test = open_images(archive / "train"), open_images(archive / "test")
    class_names = train.class_names or ()
    calibration = balanced(train, CALIBRATION_COUNT)
    # An image that calibrates must not measure.
    evaluation = balanced(test.without(calibration), EVALUATION_COUNT)
    sets = {
        "calibration": write_set(calibration, "train", folder / "cifar10_calibration.zip", class_names),
        "evaluation": write_set(evaluation, "test", folder / "cifar10_evaluation.zip", class_names),
    }
    write_bytes(folder / "classes.txt", classes_text(class_names))
    write_json(
        folder / "manifest.json",
        {
            "schema": 1,
            "source": {**SOURCE, "archive": archive.name, "archive_sha256": sha256_of(archive)},
            "made_with": "python tools/make_sample.py ../shared/data/cifar10.zip",
            "class_names": class_names,
            "preprocessing": json.loads(PREPROCESSING.to_json()),
            "sets": sets,
        },
    )


def main() -> None:
    """Read the command line and write the sample."""
    parser = argparse.ArgumentParser(description="Make the sample that ships with edgekit.")
    parser.add_argument("archive", type=Path, help="CIFAR-10 as a zip of train/<class>/ and test/<class>/")
    default = Path(__file__).resolve().parent.parent / "calibration"
    parser.add_argument("--output", type=Path, default=default, help="folder to write into")
    arguments = parser.parse_args()
    make(arguments.archive, arguments.output)


if __name__ == "__main__":
    main()
