"""Reads an HTML page back: its words, elements and attributes, for the tests of this folder."""

from __future__ import annotations

import dataclasses
import html.parser

_VOID = frozenset({"meta", "link", "img", "input", "br", "wbr"})

# Their words run on with those around them.
_INLINE = frozenset({"span", "strong", "code"})


@dataclasses.dataclass
class Element:
    """An element with its attributes and the words in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


class Page(html.parser.HTMLParser):
    """A page; raises AssertionError when its elements are not nested."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag
        if tag not in _INLINE:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        """Return the elements of a kind, in order."""
        return [element for element in self.elements if element.tag == tag]

    def one(self, identifier: str) -> Element:
        """Return the element with an id."""
        (found,) = [element for element in self.elements if element.attributes.get("id") == identifier]
        return found

    def words(self, identifier: str = "") -> str:
        """Return the words of the element with an id, or of the whole body, with single spaces."""
        element = self.one(identifier) if identifier else self.all("body")[0]
        return " ".join(element.text.split())
