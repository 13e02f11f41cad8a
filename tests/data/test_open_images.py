from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from image_factory import image_files, png, write_folder, write_tar, write_zip

from edgekit.data import ImageSet, open_images
from edgekit.errors import DataError

Make = Callable[[Mapping[str, bytes]], Path]


@pytest.fixture(params=["folder", "zip", "tar"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Lay files out in a folder, a zip or a tar: all must open alike."""

    def _make(files: Mapping[str, bytes]) -> Path:
        if request.param == "zip":
            return write_zip(tmp_path / "set.zip", files)
        if request.param == "tar":
            return write_tar(tmp_path / "set.tar", files)
        return write_folder(tmp_path / "set", files)

    return _make


def classes_of(images: ImageSet) -> dict[str, int]:
    assert images.labels is not None
    return dict(zip(images.identifiers, images.labels, strict=True))


def assert_error(code: str, path: Path, **options: tuple[str, ...]) -> DataError:
    with pytest.raises(DataError) as caught:
        open_images(path, **options)
    assert caught.value.code == code
    assert caught.value.where == str(path)
    return caught.value


def test_a_flat_folder_has_images_in_sorted_order_and_no_labels(make: Make) -> None:
    images = open_images(make(image_files(["b.jpg", "a.PNG", "c.JPEG"])))
    assert images.identifiers == ("a.PNG", "b.jpg", "c.JPEG")
    assert images.labels is None
    assert images.class_names is None
    assert len(images) == 3


def test_class_folders_are_numbered_in_sorted_order(make: Make) -> None:
    images = open_images(make(image_files(["dog/2.png", "cat/1.png", "dog/1.png"])))
    assert classes_of(images) == {"cat/1.png": 0, "dog/1.png": 1, "dog/2.png": 1}
    assert images.class_names == ("cat", "dog")


def test_the_name_is_the_path_as_given(make: Make) -> None:
    path = make(image_files(["a.png"]))
    assert open_images(str(path)).name == str(path)


def test_images_decode_to_the_pixels_that_were_stored(make: Make) -> None:
    images = open_images(make({"a/x.png": png(1), "b/x.png": png(2)}))
    assert images.encoded(1) == png(2)
    assert images.read(1).mode == "RGB"
    assert images.read(1).size == (10, 12)


def test_classes_txt_gives_order_and_readable_names_and_may_list_absent_classes(make: Make) -> None:
    listing = "n03 sea lion\r\nn01 tench\n\nn02\nn09 kite\n".encode("utf-8-sig")
    files = {**image_files(["n01/a.png", "n02/a.png", "n03/a.png"]), "classes.txt": listing}
    images = open_images(make(files))
    assert classes_of(images) == {"n01/a.png": 1, "n02/a.png": 2, "n03/a.png": 0}
    assert images.class_names == ("sea lion", "tench", "n02", "kite")


def test_classes_txt_above_the_split_folder_counts(make: Make) -> None:
    files = {**image_files(["val/cat/a.png", "val/dog/a.png"]), "classes.txt": b"dog\ncat\n"}
    images = open_images(make(files))
    assert classes_of(images) == {"val/cat/a.png": 1, "val/dog/a.png": 0}


def test_classes_txt_above_a_split_that_the_path_names_counts(make: Make) -> None:
    files = {**image_files(["val/cat/a.png", "val/dog/a.png"]), "classes.txt": b"dog\ncat\n"}
    images = open_images(make(files) / "val")
    assert classes_of(images) == {"cat/a.png": 1, "dog/a.png": 0}


def test_classes_txt_above_a_folder_that_is_no_split_does_not_count(tmp_path: Path) -> None:
    files = {**image_files(["animals/cat/a.png", "animals/dog/a.png"]), "classes.txt": b"x\n"}
    images = open_images(write_folder(tmp_path, files) / "animals")
    assert images.class_names == ("cat", "dog")


def test_a_class_folder_that_is_not_listed_is_ek207(make: Make) -> None:
    path = make({**image_files(["cat/a.png", "eel/a.png"]), "classes.txt": b"cat\n"})
    assert "eel" in assert_error("EK207", path).what


@pytest.mark.parametrize("listing", [b"cat\ncat two\n", b"\n\n", b"\xff\xfe\x00"])
def test_an_unusable_classes_txt_is_ek207(make: Make, listing: bytes) -> None:
    path = make({**image_files(["cat/a.png", "dog/a.png"]), "classes.txt": listing})
    assert_error("EK207", path)


@pytest.mark.parametrize(
    ("splits", "taken"),
    [
        (("train", "test", "val"), "val"),
        (("train", "test"), "test"),
        (("train", "validation"), "validation"),
        (("train",), "train"),
        (("Train", "Val"), "Val"),
        (("train", "test", "extra"), "test"),
        (("photos",), "photos"),
    ],
)
def test_of_several_split_folders_the_one_for_evaluation_is_taken(
    make: Make, splits: tuple[str, ...], taken: str
) -> None:
    images = open_images(make(image_files([f"{split}/{name}/1.png" for split in splits for name in "ab"])))
    assert images.identifiers == (f"{taken}/a/1.png", f"{taken}/b/1.png")


def test_the_path_may_name_the_split(make: Make) -> None:
    path = make(image_files(["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png"]))
    images = open_images(path / "train")
    assert images.identifiers == ("a/1.png", "b/1.png")
    assert images.name == str(path / "train")


def test_split_folders_may_hold_images_without_classes(make: Make) -> None:
    images = open_images(make(image_files(["train/1.png", "test/1.png", "test/2.png"])))
    assert images.identifiers == ("test/1.png", "test/2.png")
    assert images.labels is None


def test_a_class_may_be_called_train(make: Make) -> None:
    images = open_images(make(image_files(["train/1.png", "tractor/1.png", "bus/1.png"])))
    assert images.class_names == ("bus", "tractor", "train")


def test_images_deeper_inside_a_class_folder_belong_to_the_class(make: Make) -> None:
    images = open_images(make(image_files(["cat/1.png", "cat/more/2.png", "dog/1.png"])))
    assert classes_of(images) == {"cat/1.png": 0, "cat/more/2.png": 0, "dog/1.png": 1}


def test_one_folder_alone_is_no_class_unless_somebody_names_it(make: Make) -> None:
    path = make(image_files(["photos/1.png", "photos/2.png"]))
    assert open_images(path).labels is None
    assert open_images(path, class_names=("cat", "dog")).labels is None
    assert open_images(path, class_names=("cat", "photos")).labels == (1, 1)


def test_hidden_files_and_other_kinds_of_files_are_ignored(make: Make) -> None:
    files = image_files([".x.png", "._a.png", "a.png", ".git/b/c.png", "__MACOSX/._a.png"])
    images = open_images(make({**files, "notes.txt": b"", "b.gif": b"", "Thumbs.db": b""}))
    assert images.identifiers == ("a.png",)


def test_images_beside_folders_of_images_are_ek201(make: Make) -> None:
    path = make(image_files(["stray.png", "cat/1.png", "dog/1.png"]))
    assert "stray.png" in assert_error("EK201", path).what


def test_no_images_is_ek202(make: Make) -> None:
    assert_error("EK202", make({"readme.txt": b"nothing here"}))


def test_labels_follow_the_order_of_the_model(make: Make) -> None:
    images = open_images(make(image_files(["cat/a.png", "dog/a.png"])), class_names=("eel", "dog", "ant", "cat"))
    assert classes_of(images) == {"cat/a.png": 3, "dog/a.png": 1}
    assert images.class_names == ("eel", "dog", "ant", "cat")


def test_the_model_may_use_the_readable_names(make: Make) -> None:
    files = {**image_files(["n1/a.png", "n2/a.png"]), "classes.txt": b"n1 cat\nn2 sea lion\nn3 eel\n"}
    images = open_images(make(files), class_names=("sea lion", "cat"))
    assert classes_of(images) == {"n1/a.png": 1, "n2/a.png": 0}


def test_names_that_occur_twice_fit_only_as_a_whole(make: Make) -> None:
    # As in ImageNet, where "crane" is a bird and a machine.
    files = {**image_files(["n1/a.png", "n2/a.png"]), "classes.txt": b"n1 crane\nn2 crane\nn3 eel\n"}
    path = make(files)
    assert open_images(path, class_names=("crane", "crane", "eel")).labels == (0, 1)
    assert_error("EK207", path, class_names=("eel", "crane", "crane"))


def test_classes_that_the_model_does_not_have_are_ek207(make: Make) -> None:
    path = make(image_files(["cat/a.png", "eel/a.png"]))
    assert "eel" in assert_error("EK207", path, class_names=("cat", "dog")).what


def test_a_path_that_does_not_exist_is_ek201(tmp_path: Path) -> None:
    assert_error("EK201", tmp_path / "absent")
    assert_error("EK201", tmp_path / "absent.zip" / "train")


def test_a_file_of_another_kind_is_ek201(tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    path.write_bytes(b"")
    assert_error("EK201", path)


def test_a_folder_that_an_archive_lacks_is_ek201(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", image_files(["train/a/1.png"]))
    assert_error("EK201", path / "val")
    assert_error("EK201", path / ".." / "train")


def test_a_loop_of_links_is_visited_once(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", image_files(["cat/1.png", "dog/1.png"]))
    (root / "cat" / "again").symlink_to(root, target_is_directory=True)
    assert open_images(root).identifiers == ("cat/1.png", "dog/1.png")


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    elsewhere = write_folder(tmp_path / "elsewhere", image_files(["1.png"]))
    root = write_folder(tmp_path / "set", image_files(["cat/1.png"]))
    (root / "dog").symlink_to(elsewhere, target_is_directory=True)
    assert open_images(root).labels == (0, 1)


@pytest.mark.shared_data
def test_the_imagenet_sample_has_500_labels_among_1000_classes(shared_data: Path) -> None:
    images = open_images(shared_data / "imagenet_sample.zip")
    assert len(images) == 500
    assert images.labels is not None
    assert images.class_names is not None
    assert len(images.class_names) == 1000
    with zipfile.ZipFile(shared_data / "imagenet_sample.zip") as archive:
        folders = [line.split()[0] for line in archive.read("classes.txt").decode().splitlines()]
    for identifier, label in classes_of(images).items():
        assert identifier.split("/")[1] == folders[label]
    assert images.class_names[0] == "tench"
    assert images.read(499).mode == "RGB"


@pytest.mark.shared_data
def test_cifar10_opens_at_its_test_folder_unless_the_path_names_train(shared_data: Path) -> None:
    test = open_images(shared_data / "cifar10.zip")
    train = open_images(shared_data / "cifar10.zip" / "train")
    assert (len(test), len(train)) == (10_000, 50_000)
    assert test.class_names == train.class_names
    assert test.identifiers[0] == "test/airplane/0000.jpg"
    assert train.identifiers[0] == "airplane/0000.jpg"
    assert train.labels is not None
    assert [train.labels.count(index) for index in range(10)] == [5_000] * 10
