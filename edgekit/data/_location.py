"""Reading a location as text: what is a URL, where an archive ends, which shards a pattern names. Touches no file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from edgekit.errors import DataError

ARCHIVES = (".zip", ".tar")
# What tar shards must not be: there is no way to the middle of a compressed stream but through all that lies before.
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")

_MOST_SHARDS = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_HTTP = ("http://", "https://")


def is_pattern(text: str) -> bool:
    """Tell whether a location names several files at once, with braces, `*`, `?` or `[…]`."""
    return any(letter in _without_query(text) for letter in "{*?[")


def is_glob(text: str) -> bool:
    """Tell whether only a look at the files that are there says which ones are meant."""
    return any(letter in _without_query(text) for letter in "*?[")


def expand(pattern: str, *, where: str) -> list[str]:
    """Return what braces stand for, in order: `{00..12}` counts with as many digits, `{a,b}` lists.

    Raises:
        DataError: EK201 when the braces are no such thing, or stand for more than 100,000 names.
    """
    pieces = _BRACES.split(pattern)
    if any(letter in piece for piece in pieces[::2] for letter in "{}"):
        raise _misread("its braces do not match", where)
    choices: list[list[str]] = []
    names = 1
    for place, piece in enumerate(pieces):
        options = [piece] if place % 2 == 0 else list(itertools.islice(_options(piece, where), _MOST_SHARDS + 1))
        names *= len(options)
        if names > _MOST_SHARDS:
            raise _misread(f"it stands for more than {_MOST_SHARDS:,} files", where)
        choices.append(options)
    return ["".join(parts) for parts in itertools.product(*choices)]


def _options(braces: str, where: str) -> Iterator[str]:
    if counted := _RANGE.fullmatch(braces):
        first, last = counted.groups()
        if len(first) > 18 or len(last) > 18 or int(first) > int(last):
            raise _misread(f"{{{braces}}} does not count upwards", where)
        width = len(first) if first.startswith("0") else 0
        return (f"{number:0{width}}" for number in range(int(first), int(last) + 1))
    if "," not in braces:
        raise _misread(f"{{{braces}}} is no range and no list", where)
    return iter(braces.split(","))


def split_archive(text: str) -> tuple[str, str]:
    """Split `…/data.zip/train` into the archive and the folder inside it; all of it and nothing where there is none.

    The query of an http URL stays with the archive.
    """
    bare = _without_query(text)
    query = text[len(bare) :]
    scheme, colon, rest = bare.rpartition("://")
    parts = rest.rstrip("/").split("/")
    for count in range(1, len(parts) + 1):
        if parts[count - 1].lower().endswith((*ARCHIVES, ".npz", *COMPRESSED)):
            return f"{scheme}{colon}{'/'.join(parts[:count])}{query}", "/".join(parts[count:])
    return text, ""


def suffix_of(text: str) -> str:
    """Return the last suffix of a location in small letters, e.g. `.tar`; the query of an http URL does not count."""
    name = _without_query(text).rstrip("/").rpartition("/")[2]
    return f".{name.rpartition('.')[2].lower()}" if "." in name else ""


def is_compressed_tar(text: str) -> bool:
    """Tell whether a location names a compressed tar archive."""
    return _without_query(text).lower().endswith(COMPRESSED)


def is_http(text: str) -> bool:
    """Tell whether a location is of the web, where files have addresses and folders do not."""
    return text.lower().startswith(_HTTP)


def shown(url: str) -> str:
    """Return a URL without what may be secret in it: user, password, and the query of an http URL."""
    bare = _without_query(url)
    scheme, colon, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{colon}{host.rpartition('@')[2]}{slash}{path}"


def _without_query(text: str) -> str:
    return re.split(r"[?#]", text, maxsplit=1)[0] if is_http(text) else text


def _misread(what: str, where: str) -> DataError:
    hint = "write train-{0000..0146}.tar, train-{a,b}.tar, or train-*.tar"
    return DataError("EK201", f"the pattern cannot be read: {what}", where=where, hint=hint)
