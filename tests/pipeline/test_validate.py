"""`validate_models`: what a comparison holds, and the bad input that gets no verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.data import ImageSet, batches
from edgekit.errors import EdgekitError
from edgekit.files import sha256_of
from edgekit.pipeline.sources import Source
from edgekit.pipeline.validate import ValidateRequest, validate_models
from edgekit.results import Comparison

Archive = Callable[..., Path]
Save = Callable[..., str]


@pytest.fixture(scope="session")
def save(shipped_source: Source, tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Writes the model that ships after a change, with its metadata or with other."""
    folder = tmp_path_factory.mktemp("models")

    def write(alter: Callable[[onnx.ModelProto], object] = lambda model: None, **metadata: str) -> str:
        model = onnx.ModelProto()
        model.CopyFrom(shipped_source.model)
        alter(model)
        for entry in model.metadata_props:
            entry.value = metadata.get(entry.key.removeprefix("edgekit."), entry.value)
        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        onnx.save(model, path)
        return str(path)

    return write


@pytest.fixture(scope="session")
def model(save: Save) -> str:
    """The model that ships, as an ONNX file."""
    return save()


def validate(baseline: str, candidate: str, **changes: Any) -> Comparison:
    """Compare on few images, without timing unless asked for."""
    given: dict[str, Any] = {"evaluation_samples": 40, "threads": 1, "timing": False, **changes}
    return validate_models(ValidateRequest(baseline, candidate, **given))


def code_of(baseline: str, candidate: str, **changes: Any) -> str:
    with pytest.raises(EdgekitError) as caught:
        validate(baseline, candidate, **changes)
    return caught.value.code


def after_logits(model: onnx.ModelProto, op_type: str, values: Any, *more: onnx.NodeProto) -> None:
    """Put an operator with one constant behind the logits, after the nodes that `more` gives."""
    (output,) = model.graph.output
    last = next(node for node in model.graph.node if output.name in node.output)
    last.output[list(last.output).index(output.name)] = "given_logits"
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, np.float32), "constant"))
    second = more[-1].output[0] if more else "constant"
    model.graph.node.extend([*more, helper.make_node(op_type, ["given_logits", second], [output.name])])


def noisy(model: onnx.ModelProto) -> None:
    """Change the answers of some images: the last one gains what another class needs."""
    after_logits(model, "Add", np.linspace(0, 3, 10)[np.newaxis])


def test_a_comparison_holds_both_models_the_images_and_what_lies_behind_the_drift(model: str, save: Save) -> None:
    candidate = save(noisy)
    found = validate(model, candidate, max_drop=50.0, command="edgekit validate …")
    assert (found.schema, found.command) == ("edgekit.comparison/1", "edgekit validate …")
    assert (found.baseline.name, found.candidate.name) == (model, candidate)
    assert found.baseline.sha256 != found.candidate.sha256
    assert found.baseline.accuracy.n == found.drift.n == 40
    assert found.class_names is not None
    assert len(found.class_names) == 10
    assert found.detail.significance is not None
    assert found.detail.non_inferiority is not None
    assert 100 * len(found.detail.flips) / 40 == pytest.approx(100 - found.drift.agreement.value)
    assert found.detail.flips
    assert found.detail.flips[0].kl <= found.detail.worst_kl
    assert (found.latency, found.samples, found.noise, found.diagnosis, found.gate) == (None,) * 5
    assert found.machine.cpu
    assert "onnxruntime" in found.machine.versions
    assert found.verdict.passed


def test_a_file_is_called_by_its_own_hash_and_size_and_one_with_weights_beside_it_by_both_together(
    model: str, tmp_path: Path
) -> None:
    apart = tmp_path / "apart.onnx"
    onnx.save(onnx.load(model), apart, save_as_external_data=True, location="apart.data", size_threshold=0)
    found = validate(model, str(apart), evaluation_samples=4)
    assert (found.baseline.sha256, found.baseline.size_bytes) == (sha256_of(Path(model)), Path(model).stat().st_size)
    assert found.candidate.size_bytes > (tmp_path / "apart.data").stat().st_size > apart.stat().st_size
    assert found.drift.agreement.value == 100


def test_the_two_are_timed_unless_that_is_left_out(model: str) -> None:
    found = validate(model, model, timing=True, evaluation_samples=4)
    assert found.latency is not None
    assert found.latency.threads == 1


def test_a_flip_is_the_image_at_its_index_though_others_could_not_be_read(
    model: str, save: Save, images: ImageSet, archive: Archive, shipped_source: Source
) -> None:
    path = archive(images, "images.zip", broken=[0])
    found = validate(model, save(noisy), evaluation=path, evaluation_samples=None)
    assert (found.broken, found.drift.n) == (1, 99)
    assert found.notes[-1] == "1 of 100 images could not be read and were left out"
    rest = images.select(range(1, 100))
    logits = np.concatenate([batch.images for batch in batches(rest, shipped_source.preprocessing, 9)])
    assert len(logits) == 99
    for flip in found.detail.flips:
        assert rest.labels is not None
        assert flip.image.endswith(f"/{flip.index + 1:04}.jpg")
        assert flip.label == rest.labels[flip.index]


def test_the_hash_of_the_images_is_that_of_those_read(model: str, images: ImageSet, archive: Archive) -> None:
    whole, partly = archive(images, "whole.zip"), archive(images, "partly.zip", broken=[0])
    every = {"evaluation_samples": None}
    first = validate(model, model, evaluation=whole, **every)
    assert first.images_sha256 == validate(model, model, evaluation=whole, **every).images_sha256
    assert first.images_sha256 != validate(model, model, evaluation=partly, **every).images_sha256


def test_images_without_labels_give_agreement_and_no_accuracy(model: str, images: ImageSet, tmp_path: Path) -> None:
    for index in range(6):
        (tmp_path / f"{index}.jpg").write_bytes(images.encoded(index))
    found = validate(model, model, evaluation=tmp_path, max_drop=0.0)
    assert found.baseline.accuracy.top1 is None
    assert (found.detail.significance, found.detail.non_inferiority) == (None, None)
    assert found.verdict.reason.startswith("agreement (there are no labels) did not change")
    assert code_of(model, model, evaluation=tmp_path, need=1.0) == "EK204"


def test_nan_is_ek602_with_the_model_and_the_images(model: str, save: Save) -> None:
    broken = save(lambda proto: after_logits(proto, "Pow", np.full((1, 10), 0.5)))
    with pytest.raises(EdgekitError, match=r"EK602 images \d+ to \d+: the candidate gives NaN or infinity"):
        validate(model, broken)
    with pytest.raises(EdgekitError, match=r"EK602 images \d+ to \d+: the baseline gives NaN or infinity"):
        validate(broken, model)


def test_a_model_that_fails_midway_is_ek603(model: str, save: Save) -> None:
    def fail(proto: onnx.ModelProto) -> None:
        nodes = (
            helper.make_node("ReduceMax", ["given_logits"], ["largest"], keepdims=0),
            helper.make_node("Cast", ["largest"], ["index"], to=onnx.TensorProto.INT64),
            helper.make_node("Gather", ["constant", "index"], ["row"]),
        )
        after_logits(proto, "Add", np.zeros((1, 10)), *nodes)

    with pytest.raises(EdgekitError, match=r"EK603 the candidate, images \d+ to \d+: the model fails while it runs"):
        validate(model, save(fail))


def test_a_dead_model_is_ek604(model: str, save: Save) -> None:
    dead = save(lambda proto: after_logits(proto, "Mul", np.zeros((1, 10))))
    assert code_of(model, dead) == "EK604"
    assert code_of(dead, model) == "EK604"


def test_labels_in_another_order_are_ek605(model: str, save: Save, images: ImageSet, archive: Archive) -> None:
    assert images.labels is not None
    turned = dataclasses.replace(images, labels=tuple((label + 1) % 10 for label in images.labels))
    path = archive(turned, "turned.zip")
    assert code_of(model, model, evaluation=path, evaluation_samples=None) == "EK605"


def test_models_with_their_classes_in_another_order_are_ek601(model: str, save: Save) -> None:
    turned = save(classes='["truck", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "airplane"]')
    with pytest.raises(EdgekitError, match=r"EK601 .*the order of their classes, at class 0: airplane and truck"):
        validate(model, turned)


def test_other_names_for_the_classes_are_noted(model: str, save: Save) -> None:
    renamed = save(classes='["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]')
    assert "name their classes differently" in validate(model, renamed).notes[-1]


def test_other_preprocessing_is_ek601(model: str, save: Save, shipped_source: Source) -> None:
    other = dataclasses.replace(shipped_source.preprocessing, mean=(0.1, 0.2, 0.3))
    assert code_of(model, save(preprocessing=other.to_json())) == "EK601"


def test_an_empty_folder_is_ek202(model: str, tmp_path: Path) -> None:
    assert code_of(model, model, evaluation=tmp_path) == "EK202"


def test_an_output_that_cannot_be_written_is_ek003_before_any_work(model: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert code_of("no such model", model, output=tmp_path / "file") == "EK003"
