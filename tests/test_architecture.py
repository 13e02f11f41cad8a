"""The layout of the package: imports go down only, and a folder's private modules are its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgekit

PACKAGE = Path(edgekit.__file__).parent
# From the top down; folders of one row do not import one another.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli", "pytest_plugin"),
    ("pipeline",),
    ("training", "pruning", "export", "calibrate", "quantize", "engine", "validate", "report"),
    ("models", "data", "targets"),
    ("results",),
    ("spec", "files", "shipped", "turns", "machine"),
    ("errors",),
)
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
LONGEST_FILE = 400
# `import edgekit` and `edgekit --help` must not wait for these.
HEAVY = ("torch", "numpy", "onnx", "onnxruntime", "scipy", "PIL", "pydantic", "rich", "safetensors", "jinja2")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(name: str, *, at_import_time: bool = False) -> Iterator[str]:
    """Yield the modules of edgekit that a module imports; `from package import module` counts as the module."""
    for node in _statements(ast.parse(FILES[name].read_text()), at_import_time):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "edgekit")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "edgekit":
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in FILES else str(node.module)


def _statements(tree: ast.AST, at_import_time: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if at_import_time and (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_for_types(node)):
            continue
        yield node
        yield from _statements(node, at_import_time)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def layer_of(name: str) -> str | None:
    """Return the folder or file below `edgekit` that a module belongs to; None for the package itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] != "__main__" else None


def edges() -> list[tuple[str, str]]:
    return [(name, imported) for name in FILES for imported in imports(name)]


def test_the_walk_sees_the_package() -> None:
    assert len(FILES) > 50
    assert ("edgekit.cli.train", "edgekit.pipeline.train") in edges()
    assert ("edgekit.training._loop", "edgekit.training._state") in edges()


def test_every_folder_has_its_place_in_the_layers() -> None:
    present = {layer for name in FILES if (layer := layer_of(name)) is not None}
    assert present <= RANK.keys(), "give the new folder a row in LAYERS"


def test_imports_go_down_only() -> None:
    upward = [
        f"{name} imports {imported}"
        for name, imported in edges()
        if (own := layer_of(name)) is not None and (other := layer_of(imported)) is not None
        if own != other and RANK[other] <= RANK[own]
    ]
    assert upward == []


def test_private_modules_are_imported_from_their_own_folder_only() -> None:
    trespassing = []
    for name, imported in edges():
        parts = imported.split(".")
        private = next((index for index, part in enumerate(parts) if part.startswith("_") and part != "__main__"), None)
        if private is not None and not f"{name}.".startswith(f"{'.'.join(parts[:private])}."):
            trespassing.append(f"{name} imports {imported}")
    assert trespassing == []


def test_no_private_name_is_imported_from_another_module() -> None:
    stolen = [
        f"{name} imports {node.module}.{alias.name}"
        for name, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgekit")
        for alias in node.names
        if alias.name.startswith("_") and f"{node.module}.{alias.name}" not in FILES
    ]
    assert stolen == []


def test_no_module_imports_itself_round_a_circle() -> None:
    graph = {name: {other for other in imports(name, at_import_time=True) if other in FILES} for name in FILES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in graph[name]:
                # A module that asks its own folder's facade for a submodule is listed as importing the submodule.
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_imports_are_absolute() -> None:
    relative = [
        f"{name}:{node.lineno}"
        for name, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_a_facade_says_what_is_public(folder: str) -> None:
    tree = ast.parse((PACKAGE / folder / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    imported = any(isinstance(node, ast.ImportFrom) and node.module != "__future__" for node in tree.body)
    listed = any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" for node in tree.body)
    assert listed == imported


def test_files_stay_short() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


@pytest.mark.parametrize("module", ["edgekit", "edgekit.cli", "edgekit.spec", "edgekit.results", "edgekit.files"])
def test_importing_is_light(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
