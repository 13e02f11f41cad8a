"""The notes of this stage."""

from __future__ import annotations

from edgekit.spec import Note


def note(text: str) -> Note:
    """Make a note of the export stage."""
    return Note("export", text)


def counted(count: int, text: str) -> tuple[Note, ...]:
    """Make a note with `{}` replaced by the count; none when nothing was changed."""
    return (note(text.format(count)),) if count else ()
