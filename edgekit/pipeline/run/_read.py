"""From a pipeline file, environment variables and flags to checked settings; every fault with its line and key."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgekit.errors import UsageError
from edgekit.files import is_url, read_at_most
from edgekit.pipeline.run._settings import Pipeline, Table
from edgekit.pipeline.toml_lines import line_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST_FILE = 1 << 20
# EDGEKIT_EXPORT__OPSET; names with one underscore, such as EDGEKIT_TRACEBACK, are no settings.
_VARIABLE = re.compile(r"EDGEKIT_([A-Z0-9]+)__([A-Z0-9_]+)")
_PLACE = re.compile(r" \(at line (\d+), column \d+\)$| \(at end of document\)$")
# Forms of Q/DQ without a device; a test compares with `edgekit.quantize`, which imports torch.
_FORMS = ("tensorrt", "tensorrt8")
DOCUMENTATION = "docs/pipeline.md lists the keys"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A pipeline file, read and checked.

    Attributes:
        path: The file.
        pipeline: What it says, with what variables and flags say on top.
    """

    path: Path
    pipeline: Pipeline

    @property
    def folder(self) -> Path:
        """The folder of the file, which paths in it are relative to."""
        return self.path.parent


@dataclasses.dataclass(frozen=True)
class _Override:
    """One key that a variable or a flag sets."""

    key: tuple[str, str]
    text: str
    where: str


def load_pipeline(path: Path, *, environment: Mapping[str, str], flags: Sequence[str] = ()) -> Loaded:
    """Read a pipeline file; a flag wins over a variable, a variable over the file, the file over the default.

    Args:
        path: The file.
        environment: Variables such as `EDGEKIT_EXPORT__OPSET`.
        flags: Texts such as `export.opset=17`.

    Raises:
        UsageError: EK010 for what the file, a variable or a flag may not say; EK011 when the file, or one that it
            names, does not exist.
    """
    text = _text(path)
    content = _parse(text, path)
    origin: dict[tuple[str, ...], str] = {}
    for override in (*_from_environment(environment), *_from_flags(flags)):
        table = content.setdefault(override.key[0], {})
        if isinstance(table, dict):
            table[override.key[1]] = _value(override)
            origin[override.key] = override.where
    try:
        pipeline = Pipeline.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        raise _refusal(error, text, path, origin) from error
    _require_files(pipeline, text, path, origin)
    _require_target(pipeline, text, path)
    return Loaded(path, pipeline)


def _text(path: Path) -> str:
    try:
        content = read_at_most(path, LARGEST_FILE)
    except OSError as error:
        raise UsageError(
            "EK011",
            f"the pipeline file cannot be read: {error.strerror or error}",
            where=str(path),
            hint="check the path; edgekit init writes a file to start from",
        ) from error
    if content is None:
        raise UsageError("EK010", "it is far larger than such files are", where=str(path), hint=DOCUMENTATION)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError("EK010", f"not a text in UTF-8: {error}", where=str(path), hint=DOCUMENTATION) from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = _PLACE.search(str(error))
        line = (place.group(1) or len(text.splitlines())) if place else 1
        what = _PLACE.sub("", str(error))
        raise UsageError("EK010", f"not TOML: {what}", where=f"{path}:{line}", hint="mend the line") from error


def _from_environment(environment: Mapping[str, str]) -> Iterator[_Override]:
    for name in sorted(environment):
        if found := _VARIABLE.fullmatch(name):
            yield _Override((found[1].lower(), found[2].lower()), environment[name], f"the variable {name}")


def _from_flags(flags: Sequence[str]) -> Iterator[_Override]:
    for flag in flags:
        name, equals, text = flag.partition("=")
        parts = name.strip().split(".")
        if not equals or len(parts) != 2:
            raise UsageError(
                "EK010", f"{flag!r} is not TABLE.KEY=VALUE", where="--set", hint="write it as export.opset=17"
            )
        yield _Override((parts[0], parts[1]), text, f"--set {name.strip()}")


def _value(override: _Override) -> Any:
    """Return what a text means for its key, as JSON would hold it; raises UsageError EK010."""
    annotation = _annotation(override.key)
    if annotation is None:
        raise _unknown(override.key, override.where)
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    given: Any = override.text.strip()
    if any(typing.get_origin(part) is tuple for part in (annotation, *typing.get_args(annotation))):
        given = tuple(given.strip("[]").split(","))
    try:
        return adapter.dump_python(adapter.validate_python(given), mode="json")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(override.key)
        raise UsageError(
            "EK010", f"{key} = {override.text!r}: {first['msg']}", where=override.where, hint=DOCUMENTATION
        ) from error


def _annotation(key: tuple[str, str]) -> Any:
    """Return the type of a key with its limits; None when there is no such key."""
    table = tables().get(key[0])
    field = None if table is None else table.model_fields.get(key[1])
    if field is None:
        return None
    annotation: Any = field.annotation
    return typing.Annotated[(annotation, *field.metadata)] if field.metadata else annotation


def tables() -> dict[str, type[Table]]:
    """Return the tables of a pipeline file by name, in the order of the file."""
    found = {}
    for name, field in Pipeline.model_fields.items():
        kinds = typing.get_args(field.annotation) or (field.annotation,)
        table = next(kind for kind in kinds if kind is not types.NoneType)
        assert isinstance(table, type)
        assert issubclass(table, Table)
        found[field.alias or name] = table
    return found


def _unknown(key: Sequence[str | int], where: str) -> UsageError:
    known: Sequence[str] = list(tables())
    if len(key) > 1 and key[0] in known:
        known = list(tables()[str(key[0])].model_fields)
    name = str(key[-1])
    near = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(str(key[0]), known, 1)
    hint = f"did you mean {near[0]}" if near else f"take one of {', '.join(known)}"
    what = "table" if len(key) == 1 or key[0] not in tables() else "key"
    return UsageError("EK010", f"{'.'.join(map(str, key))}: there is no such {what}", where=where, hint=hint)


def _refusal(error: ValidationError, text: str, path: Path, origin: Mapping[tuple[str, ...], str]) -> UsageError:
    """Say the first fault in one line: where, which key, what is wrong with it."""
    first = error.errors(include_url=False, include_context=False)[0]
    key = tuple(part for part in first["loc"] if isinstance(part, str))[:2]
    where = origin.get(key) or _place(text, path, key)
    if first["type"] == "extra_forbidden":
        return _unknown(key, where)
    what = first["msg"].removeprefix("Value error, ")
    return UsageError("EK010", f"{'.'.join(key)}: {what}" if key else what, where=where, hint=DOCUMENTATION)


def _require_files(pipeline: Pipeline, text: str, path: Path, origin: Mapping[tuple[str, ...], str]) -> None:
    for name, file in pipeline.files():
        if is_url(file):
            continue  # Whether it is there is found out when it is needed, and perhaps not from this machine.
        place = path.parent / file
        # archive.zip/train names a folder inside an archive, and a pattern several files.
        if not (any(candidate.exists() for candidate in (place, *_archives(place))) or _are_shards(place)):
            key = tuple(name.split("."))
            where = origin.get(key) or _place(text, path, key)
            hint = f"check the path; it is relative to the folder of {path.name}"
            raise UsageError("EK011", f"{name} = {str(file)!r}: there is no such file", where=where, hint=hint)


def _are_shards(place: Path) -> bool:
    """Tell whether a pattern names shards that are all there."""
    from edgekit.data import shard_files  # It brings numpy, which a run that makes nothing does without.

    shards = shard_files(place) or ()
    return bool(shards) and all(shard.is_file() for shard in shards)


def _require_target(pipeline: Pipeline, text: str, path: Path) -> None:
    """Refuse a target that there is none of, or that nothing can be built for: training first would cost hours."""
    run = pipeline.run
    if run.target in (*_FORMS, "cpu") and pipeline.table("build") is None:
        return
    from edgekit.targets import choose_stack, load_card

    own = run.target.endswith(".toml")
    card = load_card(str(path.parent / run.target) if own else "cpu" if run.target in _FORMS else run.target)
    if card.is_gpu:
        choose_stack(card, run.jetpack)
    elif pipeline.table("build") is not None:
        raise UsageError(
            "EK010",
            f"[build] needs a target with TensorRT, and {run.target} has none",
            where=_place(text, path, ("build",)),
            hint="set target in [run]",
        )


def _archives(path: Path) -> Iterator[Path]:
    return (parent for parent in path.parents if parent.suffix.lower() in (".zip", ".tar"))


def _place(text: str, path: Path, key: Sequence[str]) -> str:
    """Return file and line of a key, or of the nearest table above it."""
    for length in range(len(key), 0, -1):
        if (line := line_of(text, key[:length])) is not None:
            return f"{path}:{line}"
    return str(path)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a pipeline file, as in `docs/pipeline.schema.json`."""
    schema = Pipeline.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def settings_of(pipeline: Pipeline) -> dict[str, Any]:
    """Return every setting of a pipeline as plain JSON, with the tables of stages that are not run left out."""
    content: dict[str, Any] = pipeline.model_dump(mode="json", by_alias=True, exclude_none=True)
    off = {name for name, table in content.items() if table.get("enabled") is False}
    return {name: table for name, table in content.items() if name not in off}


def pipeline_of(settings: Any) -> Pipeline:
    """Return the pipeline of settings as plain JSON, one table a stage; raises pydantic's ValidationError."""
    return Pipeline.model_validate_json(json.dumps(settings))
