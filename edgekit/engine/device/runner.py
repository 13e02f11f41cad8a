#!/usr/bin/env python3
"""Build the engine of this bundle, time it, run its samples and write result.json beside this file.

It does with the Python packages numpy, tensorrt and pycuda what run.sh does with trtexec, and can classify pictures or
a camera's frames besides. It runs on the Python of the oldest board (3.6), so annotations of newer forms are quoted.
Inferences are timed one after another; trtexec keeps the next one queued, so its times may be shorter.
"""

# ruff: noqa: D102, D103 - one file has to hold it all; names say what has no docstring
import argparse
import atexit
import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator  # noqa: UP035 - Iterator[...] of collections.abc is newer than 3.6

HERE = Path(__file__).resolve().parent
# Prefix of /proc, /sys, /etc and /usr/local/cuda of the board, for containers that mount them elsewhere.
ROOT = Path(os.environ.get("EDGEKIT_ROOT") or "/")
SETTINGS = {"WARMUP_MS": 500, "DURATION_S": 5, "RUNS": 3}
WARMUP_MS, DURATION_S, RUNS = (int(os.environ.get(f"EDGEKIT_{name}") or SETTINGS[name]) for name in SETTINGS)
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")
# INA3221: mW (iio, JetPack 4), mV and mA (hwmon, later)
RAILS = ("sys/bus/i2c/drivers/ina3221x/*/iio*/in_power*_input", "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_input")
GPU_CLOCKS = ("sys/devices/gpu.0/devfreq/*/cur_freq", "sys/class/devfreq/*g[pavb]*/cur_freq")
COPY_AGAIN = "copy the whole bundle again"


class Failure(Exception):  # noqa: N818 - people are told it, no caller handles it
    """Something a person can put right: its arguments are a code, what was wrong and what to do."""


def load_stack() -> Any:
    try:
        import numpy as np
        import pycuda.driver as cuda
        import tensorrt as trt
    except ImportError as error:
        advice = "install numpy, tensorrt (JetPack has it) and pycuda for this Python, or use run.sh, which needs none"
        raise Failure("EK707", f"a package is missing for {sys.executable} ({error})", advice) from error
    try:
        cuda.init()
    except cuda.Error as error:
        advice = "build on a machine with an NVIDIA GPU, and see that its driver is as new as CUDA"
        raise Failure("EK703", f"CUDA finds no GPU that it can use ({error})", advice) from error
    return SimpleNamespace(np=np, trt=trt, cuda=cuda, major=int(trt.__version__.split(".")[0]))


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_text(path: Any) -> str:
    """Return the text of a small file without control characters; empty when there is none to read."""
    with contextlib.suppress(OSError, AttributeError):
        return re.sub(r"[^\S\n ]|[\0-\x08]", "", path.read_bytes().decode("utf-8", "replace")).strip()
    return ""


def write_json(path: Path, value: Any, **options: Any) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(json.dumps(value, allow_nan=False, ensure_ascii=False, **options).encode() + b"\n")
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def read_bundle() -> "dict[str, Any]":
    """Return what bundle.json says, once every file is the one it names and every sample fits the input."""
    try:
        bundle: dict[str, Any] = json.loads((HERE / "bundle.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure("EK711", f"bundle.json is missing or damaged ({error})", COPY_AGAIN) from error
    for name, digest in bundle["files"].items():
        if not (HERE / name).is_file() or sha256_of(HERE / name) != digest:
            raise Failure("EK711", f"{name} is missing or is not the file the bundle was made with", COPY_AGAIN)
    expected = 4
    for length in bundle["input"]["shape"]:
        expected *= length
    for path in (HERE / "sample" / f"{sample}.bin" for sample in bundle["samples"]):
        if path.stat().st_size != expected:
            what = f"{path.name} has {path.stat().st_size} bytes and the model's input takes {expected}"
            raise Failure("EK710", what, "make the bundle again")
    return bundle


def read_device(stack: Any) -> "dict[str, Any]":
    release = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", read_text(ROOT / "etc" / "nv_tegra_release"))
    texts = (read_text(ROOT / "usr" / "local" / "cuda" / name) for name in ("version.json", "version.txt"))
    cuda = re.search(r"\d+\.\d+", "".join(texts))
    mode = None
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        answer = subprocess.check_output(["nvpmodel", "-q"], stderr=subprocess.DEVNULL).decode("utf-8", "replace")
        mode = re.search(r"NV Power Mode: *(\S+)", answer)
    model, l4t = read_text(ROOT / "proc" / "device-tree" / "model"), ".".join(release.groups()) if release else None
    facts: dict[str, Any] = {"model": model or None, "l4t": l4t, "clocks": {}, "cuda": cuda.group() if cuda else None}
    facts.update(tensorrt=".".join(stack.trt.__version__.split(".")[:3]), nvpmodel=mode.group(1) if mode else None)
    return {**facts, "compute_capability": "{}.{}".format(*stack.cuda.Device(0).compute_capability())}


class Sensors(threading.Thread):
    """Reads the power of the module (or of its first rail) and the clocks twice a second until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[int] = []
        self.clocks: dict[str, int] = {}
        self.stopping = threading.Event()
        rails: list[tuple[str, list[Path]]] = []
        for path in (path for pattern in RAILS for path in sorted(ROOT.glob(pattern))):
            channel, iio = re.sub(r"\D", "", path.name), path.name.startswith("in_power")
            label = read_text(path.with_name(f"rail_name_{channel}" if iio else f"in{channel}_label"))
            rails.append((label, [path] if iio else [path, path.with_name(f"curr{channel}_input")]))
        rails = [rail for rail in rails if all(file.is_file() for file in rail[1])]
        rails.sort(key=lambda rail: not re.search("_IN$|^VIN_", rail[0]))
        label, self.power = rails[0] if rails else ("", [])
        self.source = str(self.power[0]) + (f" ({label})" if label else "") if self.power else ""
        self.gpu = next((path for pattern in GPU_CLOCKS for path in sorted(ROOT.glob(pattern))), None)

    def read(self) -> None:
        with contextlib.suppress(ValueError, IndexError):
            numbers = [int(read_text(path)) for path in self.power]
            self.samples.append(numbers[0] * numbers[1] // 1000 if len(numbers) > 1 else numbers[0])
        cpu = ROOT / "sys" / "devices" / "system" / "cpu" / "cpu0" / "cpufreq" / "scaling_cur_freq"
        clocks = {"cpu0_khz": read_text(cpu), "gpu_hz": read_text(self.gpu)}
        self.clocks = {name: int(clock) for name, clock in clocks.items() if clock.isdigit()}

    def run(self) -> None:
        while not self.stopping.is_set():
            self.read()
            self.stopping.wait(0.5)


def manifest(bundle: "dict[str, Any]", device: "dict[str, Any]", engine: str) -> "dict[str, Any]":
    facts = {name: bundle[name] for name in ("precision", "typing", "workspace_mib")}
    facts.update({name: device[name] for name in ("compute_capability", "tensorrt")}, engine=engine)
    return {"schema": 1, "model": sha256_of(HERE / "model.onnx"), "device": device["model"] or "unknown", **facts}


def prepare_engine(bundle: "dict[str, Any]", device: "dict[str, Any]", rebuild: bool) -> "float | None":
    """Leave a model.engine that fits; returns the seconds its build took, None when the present one was reused."""
    if (HERE / "model.engine").is_file() and not rebuild:
        was, now = {}, manifest(bundle, device, sha256_of(HERE / "model.engine"))
        with contextlib.suppress(ValueError):
            was = json.loads(read_text(HERE / "engine.json"))
        differences = [f"{name} was {was.get(name)} and is {now[name]}" for name in now if was.get(name) != now[name]]
        if not differences:
            return None
        what = "the present model.engine does not fit: " + ", ".join(differences)
        if os.environ.get("EDGEKIT_KEEP_ENGINE") == "1":
            raise Failure("EK709", what, "unset EDGEKIT_KEEP_ENGINE to rebuild it")
        print(f"EK709 {what}; it is rebuilt", file=sys.stderr)
    return build(bundle, device)


def build(bundle: "dict[str, Any]", device: "dict[str, Any]") -> float:
    """Build in a process of its own: it may be killed for memory, and gives all of it back before the timing."""
    needed, free = 4 * (HERE / "model.onnx").stat().st_size, shutil.disk_usage(str(HERE)).free
    if free < needed:
        raise Failure("EK706", f"{free >> 10} KiB are free and building may take {needed >> 10}", "free some space")
    print("building the engine (this takes minutes)", file=sys.stderr)
    started, log = time.perf_counter(), HERE / "build.log"
    with tempfile.TemporaryDirectory(prefix=".edgekit.", dir=str(HERE)) as folder:
        command = [sys.executable, str(HERE / Path(__file__).name), "--build-into", folder]
        with log.open("wb") as file:
            status = subprocess.call(command, stdout=file, stderr=subprocess.STDOUT)
        if status != 0:
            raise explain_failure(bundle, status, log.read_text(encoding="utf-8", errors="replace"))
        (Path(folder) / "model.engine").replace(HERE / "model.engine")
    write_json(HERE / "engine.json", manifest(bundle, device, sha256_of(HERE / "model.engine")), indent=1)
    return round(time.perf_counter() - started, 3)


def explain_failure(bundle: "dict[str, Any]", status: int, log: str) -> Failure:
    told = re.findall(r"^(EK\d+) (.*); (.*)$", log, re.MULTILINE)
    if told:
        return Failure(*told[-1])
    errors = re.findall(r"\[E\] *(.*)", log) or log.split("\n")[-2:-1] or ["it says nothing"]
    killed = status in (-signal.SIGKILL, 128 + signal.SIGKILL)
    if killed or any(re.search("out ?of ?memory|bad_alloc|MemoryError", line, re.IGNORECASE) for line in errors):
        advice = f"add swap, make a bundle with a workspace below {bundle['workspace_mib']} MiB, or close the desktop"
        return Failure("EK708", f"the build ran out of memory or was killed (status {status}; see build.log)", advice)
    return Failure("EK712", f"the build failed: {errors[-1]}", "read build.log")


def build_into(folder: Path) -> None:
    """Write the engine into a folder; what goes wrong is printed for `explain_failure` to read."""
    bundle, stack = read_bundle(), load_stack()
    atexit.register(stack.cuda.Device(0).make_context().pop)
    trt, strong, precision = stack.trt, bundle["typing"] == "strong", bundle["precision"]
    # 11 knows strongly typed networks only: a weakly typed fp16 bundle would silently become fp32 there.
    if stack.major < 10 if strong else stack.major > 10 and precision == "fp16":
        what = f"TensorRT {stack.major} cannot build {precision} with {bundle['typing']} typing"
        raise Failure("EK712", what, "make the bundle for this version of TensorRT")
    flags, log = trt.NetworkDefinitionCreationFlag, trt.Logger(trt.Logger.INFO)
    builder = trt.Builder(log)
    explicit = 1 << int(flags.EXPLICIT_BATCH) if stack.major < 10 else 0
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED) if strong and stack.major == 10 else explicit)
    parser = trt.OnnxParser(network, log)
    if not parser.parse((HERE / "model.onnx").read_bytes()):
        print("\n".join("[E] " + parser.get_error(index).desc() for index in range(parser.num_errors)))
        sys.exit(1)
    config = builder.create_builder_config()
    if hasattr(config, "set_memory_pool_limit"):  # from 8.4 on
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, bundle["workspace_mib"] << 20)
    else:
        config.max_workspace_size = bundle["workspace_mib"] << 20
    if not strong and stack.major < 11:
        for name in {"fp16": ("FP16",), "int8": ("INT8", "FP16")}.get(precision, ()):
            config.set_flag(getattr(trt.BuilderFlag, name))
    if hasattr(getattr(trt, "ProfilingVerbosity", None), "DETAILED"):  # from 8.2 on
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        sys.exit(1)
    (folder / "model.engine").write_bytes(bytes(plan))


class Session:
    """The engine with page-locked buffers, as trtexec has them."""

    def __init__(self, stack: Any, bundle: "dict[str, Any]") -> None:
        cuda, trt, runtime = stack.cuda, stack.trt, stack.trt.Runtime(stack.trt.Logger(stack.trt.Logger.ERROR))
        self.engine = runtime.deserialize_cuda_engine((HERE / "model.engine").read_bytes())
        if self.engine is None:
            raise Failure("EK712", "TensorRT cannot load model.engine", "run this again with --rebuild")
        self.stack, self.runtime, context = stack, runtime, self.engine.create_execution_context()
        tensors = (bundle["input"], bundle["output"])
        self.host = [cuda.pagelocked_empty(tuple(tensor["shape"]), stack.np.float32) for tensor in tensors]
        self.device = [cuda.mem_alloc(array.nbytes) for array in self.host]
        self.stream = stream = cuda.Stream()
        # Waiting without spinning, as the settings in result.json say.
        self.events = [cuda.Event(cuda.event_flags.BLOCKING_SYNC) for _ in range(4)]
        # 10.0 dropped the bindings, which 8.x may have beside the named tensors.
        named = not hasattr(self.engine, "num_bindings")
        bindings = [0] * (0 if named else self.engine.num_bindings)
        for name, memory in zip((tensor["name"] for tensor in tensors), self.device):  # noqa: B905 - newer than 3.6
            index = name if named else self.engine.get_binding_index(name)
            kind = self.engine.get_tensor_dtype(name) if named else self.engine.get_binding_dtype(index)
            if kind != trt.float32:
                raise Failure("EK712", f"{name} of model.engine is not float32", "make the bundle again")
            if named:
                context.set_tensor_address(name, int(memory))
            else:
                bindings[index] = int(memory)
        execute = getattr(context, "execute_async_v3" if named else "execute_async_v2")
        self.enqueue: Any = lambda: execute(*([] if named else [bindings]), stream.handle)

    def infer(self) -> "dict[str, float]":
        cuda, stream, (start, copied, computed, end) = self.stack.cuda, self.stream, self.events
        start.record(stream)
        cuda.memcpy_htod_async(self.device[0], self.host[0], stream)
        copied.record(stream)
        done = self.enqueue()
        computed.record(stream)
        cuda.memcpy_dtoh_async(self.host[1], self.device[1], stream)
        end.record(stream)
        end.synchronize()
        if done is False:
            raise Failure("EK712", "TensorRT could not run the engine", "run this again with --rebuild")
        compute = copied.time_till(computed)
        return {"computeMs": compute, "latencyMs": start.time_till(copied) + compute + computed.time_till(end)}

    def run(self, values: Any) -> "list[float]":
        self.host[0][...] = values.reshape(self.host[0].shape)
        self.infer()
        return [float(value) for value in self.host[1].ravel()]

    def time(self, seconds: float, least: int) -> "list[dict[str, float]]":
        times: list[dict[str, float]] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < least:
            times.append(self.infer())
        return times


def measure(stack: Any, bundle: "dict[str, Any]", device: "dict[str, Any]", seconds: "float | None") -> Any:
    session, sensors, outputs, layers = Session(stack, bundle), Sensors(), {}, None
    session.time(WARMUP_MS / 1000, 1)
    sensors.start()
    runs = [{"times": session.time(DURATION_S, 10)} for _ in range(RUNS)]
    sensors.stopping.set()
    sensors.join()
    for sample in bundle["samples"]:
        values = session.run(stack.np.fromfile(str(HERE / "sample" / f"{sample}.bin"), "<f4"))
        outputs[sample] = [value if math.isfinite(value) else None for value in values]
    with contextlib.suppress(AttributeError, ValueError):  # before 8.2, and where the text is no JSON
        inspector = session.engine.create_engine_inspector()
        layers = json.loads(inspector.get_engine_information(stack.trt.LayerInformationFormat.JSON))
    path, pins = HERE / "model.engine", {"cuda_graph": False, "spin_wait": False, "data_transfers": True}
    engine = {"file": path.name, "sha256": sha256_of(path), "size_bytes": path.stat().st_size, "build_seconds": seconds}
    facts = {"schema": 1, "bundle": sha256_of(HERE / "bundle.json"), "tool": "runner.py", "engine": engine}
    settings = {"warmup_ms": WARMUP_MS, "duration_s": DURATION_S, "runs": RUNS, **pins}
    measured = {"device": {**device, "clocks": sensors.clocks}, "runs": runs, "layers": layers, "outputs": outputs}
    power = {"source": sensors.source, "unit": "mW", "samples": sensors.samples} if sensors.samples else None
    return {**facts, "settings": settings, **measured, "power": power}


def frames(source: Path) -> "Iterator[tuple[str, Any]]":
    """Yield name and picture of each image of a folder, or of each frame of a camera until it ends."""
    from PIL import Image

    if source.is_dir():
        for path in sorted(path for path in source.iterdir() if path.suffix.lower() in PICTURES):
            yield path.name, Image.open(str(path)).convert("RGB")
        return
    import cv2

    camera = cv2.VideoCapture(str(source))
    for more, frame in iter(camera.read, None):
        if not more:
            return
        yield str(source), Image.fromarray(frame[:, :, ::-1])


def preprocess(np: Any, picture: Any, spec: "dict[str, Any]") -> Any:
    """Do exactly what the samples went through: short side, centre crop, 0..1, normalised, channels first."""
    (width, height), short, side = picture.size, spec["resize"], spec["input_size"]
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    if size != picture.size:
        picture = picture.resize(size, {"bilinear": 2, "bicubic": 3}[spec["interpolation"]])
    left, top = (-((side - length) // 2) if length < side else round((length - side) / 2) for length in size)
    pixels = np.array(picture.crop((left, top, left + side, top + side)), dtype=np.float32) / np.float32(255)
    normal = (pixels - np.asarray(spec["mean"], np.float32)) / np.asarray(spec["std"], np.float32)
    return np.ascontiguousarray(np.moveaxis(normal, -1, 0))


def classify(stack: Any, bundle: "dict[str, Any]", source: Path, as_json: bool) -> None:
    np, session, spec = stack.np, Session(stack, bundle), json.loads(read_text(HERE / "preprocessing.json"))
    classes, started, count = read_text(HERE / "classes.txt").splitlines(), time.perf_counter(), 0
    try:
        for count, (name, picture) in enumerate(frames(source), 1):
            logits = np.asarray(session.run(preprocess(np, picture, spec)))
            top, exponents = int(logits.argmax()), np.exp(logits - logits.max())
            probability, rate = float(exponents[top] / exponents.sum()), count / (time.perf_counter() - started)
            label = classes[top] if top < len(classes) else str(top)
            line = {"frame": name, "class": label, "probability": round(probability, 4), "frames_per_s": round(rate, 1)}
            text = f"{name}  {label}  {probability:.3f}  {rate:.1f} frames/s"
            print(json.dumps(line) if as_json else text, flush=True)
    except ImportError as error:
        raise Failure("EK707", f"frames cannot be read ({error})", "install Pillow, for a camera OpenCV too") from error
    if not count:
        raise Failure("EK710", f"{source} gives no pictures", "name a folder of pictures or a camera (/dev/video0)")


def summarise(result: "dict[str, Any]", as_json: bool) -> None:
    times = sorted(entry["computeMs"] for run in result["runs"] for entry in run["times"])
    shares = [f"p{share} {times[math.ceil(share / 100 * len(times)) - 1]:.3f} ms" for share in (50, 90, 99) if times]
    device, size = result["device"], result["engine"]["size_bytes"]
    head = f"TensorRT {device['tensorrt']} on {device['model'] or 'this machine'}: model.engine has {size} bytes"
    told = f"{head}\ncompute: {', '.join(shares)} ({len(times)} times)\nwrote result.json: bring it back"
    print(json.dumps(result) if as_json else told)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--frames", type=Path, metavar="SOURCE", help="classify a folder of pictures or /dev/video0")
    parser.add_argument("--rebuild", action="store_true", help="build the engine even if the one that is here fits")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--build-into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.build_into:
        build_into(options.build_into)
        return
    bundle, stack = read_bundle(), load_stack()
    device = read_device(stack)
    seconds = prepare_engine(bundle, device, options.rebuild)
    atexit.register(stack.cuda.Device(0).make_context().pop)
    if options.frames:
        classify(stack, bundle, options.frames, options.json)
        return
    result = measure(stack, bundle, device, seconds)
    write_json(HERE / "result.json", result)
    summarise(result, options.json)


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError) as error:
        full = ("EK706", f"a file cannot be written or read ({error})", "free some space")
        print("{} {}; {}".format(*(error.args if isinstance(error, Failure) else full)), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
