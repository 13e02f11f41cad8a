"""Calibration and evaluation on a real Ray cluster: the same bytes on 1, 2 and 4 workers, and when one dies."""

from __future__ import annotations

import importlib.util
import io
import os
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import ray_work

from edgekit.calibrate import Summary, collect, save
from edgekit.data import ImageSet, batches, open_images, sample
from edgekit.errors import UsageError
from edgekit.pipeline.cluster import collect_shards, evaluate_shards, ray_workers
from edgekit.pipeline.cluster._ray import RayWorkers
from edgekit.pipeline.sources import Source
from edgekit.quantize import flavour_for, tensors_to_calibrate
from edgekit.validate import evaluate_pair, runner, session

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    """Ray, on workers that find this checkout and the modules of this folder."""
    if importlib.util.find_spec("ray") is None:
        reason = "needs Ray: pip install 'edgekit[ray]'"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        paths = (str(REPOSITORY), str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        yield


def test_the_bytes_do_not_depend_on_the_workers_nor_on_the_death_of_one(
    shipped_source: Source, earlier: Path, tmp_path: Path
) -> None:
    few = sample().calibration.spread(24)
    sharded = open_images(_in_tars(few, tmp_path / "tars"))
    assert sharded.sha256() == few.sha256()
    assert len(set(sharded.archives())) == 3
    tensors = tensors_to_calibrate(shipped_source.model, flavour_for("cpu"))
    stream = (batch.images for batch in batches(few, shipped_source.preprocessing))
    whole = _written(collect(shipped_source.model, stream, tensors, threads=1), tmp_path)
    blobs = shipped_source.model.SerializeToString(), (earlier / "model.int8.onnx").read_bytes()
    first, second = (runner(session(blob, threads=1)) for blob in blobs)
    pair = evaluate_pair(first, second, batches(few, shipped_source.preprocessing, 8))
    with ray_workers(count=4) as four:
        for count in (1, 2, 4):
            workers = RayWorkers(count)
            parts, _ = collect_shards(workers, shipped_source.model, few, shipped_source.preprocessing, tensors, size=4)
            assert _written(parts, tmp_path) == whole, count
            evaluated = evaluate_shards(workers, *blobs, few, shipped_source.preprocessing, size=8)
            assert np.array_equal(evaluated.pair.kl, pair.kl), count
            assert np.array_equal(evaluated.pair.noise, pair.noise), count
            parts, _ = collect_shards(
                workers, shipped_source.model, sharded, shipped_source.preprocessing, tensors, size=4
            )
            assert _written(parts, tmp_path) == whole, count
            evaluated = evaluate_shards(workers, *blobs, sharded, shipped_source.preprocessing, size=8)
            assert np.array_equal(evaluated.pair.kl, pair.kl), count
        mortal = ray_work.Mortal(four, tmp_path / "died")
        parts, _ = collect_shards(mortal, shipped_source.model, few, shipped_source.preprocessing, tensors, size=4)
        assert (tmp_path / "died").exists()
        assert _written(parts, tmp_path) == whole


def _in_tars(images: ImageSet, folder: Path) -> Path:
    """Deal images out to three tar shards, one after another."""
    folder.mkdir()
    for number in range(3):
        with tarfile.open(folder / f"{number}.tar", "w") as shard:
            for index in range(number, len(images), 3):
                member = tarfile.TarInfo(images.identifiers[index])
                member.size = len(images.encoded(index))
                shard.addfile(member, io.BytesIO(images.encoded(index)))
    return folder


def _written(summaries: dict[str, Summary], folder: Path) -> bytes:
    save(summaries, folder / "calibration.safetensors", "graph", "images")
    return (folder / "calibration.safetensors").read_bytes()


def test_a_node_that_dies_with_its_work_is_said() -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        with ray_workers(cluster.address) as workers:
            assert workers.count == 1
            results = workers.run(ray_work.slow, 0.1, range(100))
            assert next(results)[0] == 0
            cluster.remove_node(node)
            with pytest.raises(UsageError, match="EK021"):
                list(results)
    finally:
        shutdown: Callable[[], None] = cluster.shutdown
        shutdown()


def test_an_address_where_nobody_listens_is_said_at_once(free_port: Callable[[], int]) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UsageError, match=f"EK020 {address}: no Ray cluster can be used there"), ray_workers(address):
        pass


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":6379", "host:port"])
def test_an_address_that_is_none_is_said(address: str) -> None:
    with pytest.raises(UsageError, match=r"EK020 .*that is not HOST:PORT"), ray_workers(address):
        pass


@pytest.fixture
def free_port() -> Callable[[], int]:
    def port() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            number: int = listener.getsockname()[1]
            return number

    return port
