"""A stand-in for docker and podman: checks the command line and runs what is asked for in the mounted folder.

STANDIN_IMAGES lists the images it has. STANDIN_DOCKER is what is wrong with it. STANDIN_CALLS is where each command
line is written. It isolates nothing: it proves the flow and the command line.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

VALUED = (
    "--name", "--network", "--runtime", "--gpus", "--user", "--group-add", "--mount", "--env", "--workdir",
    "--entrypoint", "--device", "--security-opt", "--userns",
)  # fmt: skip


def main(words: "list[str]") -> int:
    with Path(os.environ["STANDIN_CALLS"]).open("a") as file:
        file.write(json.dumps([Path(sys.argv[0]).name, *words]) + "\n")
    trouble = os.environ.get("STANDIN_DOCKER", "")
    if trouble == "off":
        print("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
              file=sys.stderr)  # fmt: skip
        return 1
    if words[:2] == ["image", "inspect"]:
        assert words[2:4] == ["--format", "{{.Id}}"]
        if words[4] in os.environ["STANDIN_IMAGES"].split():
            print("sha256:0123")
            return 0
        print(f"Error response from daemon: No such image: {words[4]}", file=sys.stderr)
        return 1
    if words[0] == "rm":
        assert words[1] == "--force"
        return 0
    assert words[0] == "run"
    if trouble == "runtime":
        print("docker: Error response from daemon: unknown or invalid runtime name: nvidia.", file=sys.stderr)
        return 125
    return run(words[1:])


def run(words: "list[str]") -> int:
    options: dict[str, list[str]] = {}
    while words[0].startswith("-"):
        name = words.pop(0)
        assert name in VALUED or name == "--rm", name
        options.setdefault(name, []).append(words.pop(0) if name in VALUED else "")
    assert words[0] in os.environ["STANDIN_IMAGES"].split()
    folders = {}
    for mount in options["--mount"]:
        facts = dict(part.partition("=")[::2] for part in mount.split(","))
        assert facts["type"] == "bind"
        assert Path(facts["source"]).is_dir()
        folders[facts["target"]] = facts["source"]
    environment = dict(os.environ)
    for setting in options["--env"]:
        name, _, value = setting.partition("=")
        environment[name] = folders.get(value, value)
    (entry,), (folder,) = options["--entrypoint"], options["--workdir"]
    process = subprocess.Popen([entry, *words[1:]], cwd=folders[folder], env=environment)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # As docker does, which passes signals on.
        process.terminate()
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
