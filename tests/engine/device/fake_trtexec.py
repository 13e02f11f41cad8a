"""A stand-in for trtexec: knows the options, defaults and errors of four versions and computes nothing.

FAKE_VERSION chooses the version, FAKE_CALLS is where each command line is written, FAKE_TROUBLE what goes wrong.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path

COMMON = (
    "--onnx=<file> --saveEngine=<file> --loadEngine=<file> --timingCacheFile=<file> --exportTimes=<file> "
    "--verbose --exportOutput=<file> --exportLayerInfo=<file> --loadInputs=spec --warmUp=N --duration=N "
    "--iterations=N --avgRuns=N"
)
OLD_DEFAULTS = "--fp16 --int8 --best --useCudaGraph --useSpinWait --noDataTransfers"
NEW = "--memPoolSize=poolspec --profilingVerbosity=mode --skipInference"
VERSIONS = {
    "8.2.1": f"{COMMON} {OLD_DEFAULTS} --workspace=N --nvtxMode=[default|verbose|none] --buildOnly",
    "8.6.1": f"{COMMON} {OLD_DEFAULTS} {NEW}",
    "10.3.0": f"{COMMON} {OLD_DEFAULTS} {NEW} --stronglyTyped",
    "11.4.0": f"{COMMON} {NEW} --stronglyTyped --noCudaGraph --noSpinWait --includeDataTransfers",
}
CLASSES = 10


def banner_number(version: str) -> int:
    major, minor, patch = (int(part) for part in version.split("."))
    return major * (1000 if major < 10 else 10000) + minor * 100 + patch


def main() -> int:
    version, trouble = os.environ["FAKE_VERSION"], os.environ.get("FAKE_TROUBLE", "")
    arguments = sys.argv[1:]
    title = f"TensorRT.trtexec [TensorRT v{banner_number(version)}] # {' '.join(sys.argv)}"
    if trouble != "no banner":
        print(f"&&&& RUNNING {title}")
    if arguments == ["--help"]:
        print("=== Build Options ===", *(f"  {option}      help" for option in VERSIONS[version].split()), sep="\n")
        return 0
    with Path(os.environ["FAKE_CALLS"]).open("a") as file:
        file.write(json.dumps(arguments) + "\n")
    known = {option.split("=")[0] for option in VERSIONS[version].split()}
    options = dict(argument.partition("=")[::2] for argument in arguments)
    unknown = [name for name in options if name not in known]
    if unknown:
        print(*(f"[11/24/2026-10:00:00] [E] Unknown option: {name} {options[name]}" for name in unknown), sep="\n")
        print(f"&&&& FAILED {title}")
        return 1
    print("[11/24/2026-10:00:00] [I] Compute Capability: 5.3")
    sys.stdout.flush()
    status = build(options, trouble) if "--onnx" in options else infer(options, version, trouble)
    print(f"&&&& {'FAILED' if status else 'PASSED'} {title}")
    return status


def build(options: "dict[str, str]", trouble: str) -> int:
    engine = Path(options["--saveEngine"])
    if trouble == "hang":
        engine.write_bytes(b"half an en")
        time.sleep(60)
    if trouble == "killed":
        os.kill(os.getpid(), 9)
    messages = {
        "memory": "[E] Error[2]: [builder.cpp::build::1] Error Code 2: OutOfMemory (no further information)",
        "node": "[E] [TRT] ModelImporter.cpp:794: While parsing node number 3 [HardSwish]:",
        "disk": "[E] Saving engine to file failed.",
        "gpu": "[W] [TRT] CUDA initialization failure with error: 35. Please check your CUDA installation",
    }
    if trouble in messages:
        print(f"[11/24/2026-10:00:00] {messages[trouble]}")
        return 1
    engine.write_bytes(b"engine of " + Path(options["--onnx"]).read_bytes())
    # What was timed before is kept, and what is new is added.
    with Path(options["--timingCacheFile"]).open("ab") as cache:
        cache.write(b"cache ")
    print("[11/24/2026-10:00:00] [I] Engine built in 12.5 sec.")
    return 0


def infer(options: "dict[str, str]", version: str, trouble: str) -> int:
    if not Path(options["--loadEngine"]).is_file() or trouble == "engine":
        print("[11/24/2026-10:00:00] [E] Engine deserialization failed")
        return 1
    new = version.startswith("11")
    graph = "--noCudaGraph" not in options if new else "--useCudaGraph" in options
    transfers = "--includeDataTransfers" in options if new else "--noDataTransfers" not in options
    spinning = "--noSpinWait" not in options if new else "--useSpinWait" in options
    if "--exportTimes" in options:
        compute, copy = (1.0 if graph or spinning else 1.5), (0.25 if transfers else 0)
        if trouble == "slow":
            time.sleep(1.2)
        entry = {"h2dMs": copy, "computeMs": compute, "d2hMs": copy, "latencyMs": compute + 2 * copy}
        text = "\n, ".join(json.dumps({**entry, "startEnqMs": index}) for index in range(20))
        Path(options["--exportTimes"]).write_text(f"[\n  {text}\n]\n"[: 90 if trouble == "short times" else None])
    if "--exportLayerInfo" in options:
        layers = {"Layers": [{"Name": 'conv "1" {\\', "Alpha": 1e-5}], "Bindings": ["input", "output"]}
        text = json.dumps(layers, indent=1)
        Path(options["--exportLayerInfo"]).write_text(text.replace("1e-05", "nan") if trouble == "nan" else text)
    if "--exportOutput" in options:
        values = ["0"] * CLASSES
        if transfers:
            content = Path(options["--loadInputs"].rpartition(":")[2]).read_bytes()
            values = [f"{value:g}" for value in struct.unpack(f"<{CLASSES}f", content[: 4 * CLASSES])]
        if trouble == "nan":
            values[1:3] = ["nan", "-inf"]
        lines = (
            "[",
            '  { "name" : "output"',
            '  , "dimensions" : "1x10"',
            f'  , "values" : [ {", ".join(values)} ]',
            "  }",
            "]",
        )
        Path(options["--exportOutput"]).write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
