"""Files with the boxes of one picture: YOLO's lines, and Pascal VOC's XML."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from graphspec.data.mistakes import in_line, shown, unreadable
from graphspec.diagnostics import Span, SpecError, fail
from graphspec.files.reading import content

LARGEST = 2**24
"""Bytes of a file that are read."""
NUMBERS = 5
"""Numbers of a line of YOLO: the class, the center, and the width and height."""
TOP = 2**31
"""Coordinates are smaller."""


@dataclass(frozen=True, slots=True)
class AnnotatedBox:
    """A box as a file has it: left, top, right and bottom. `place` says where it is in the file, in words,
    and `span` for editors; classes are in the order of the numbers that they have in the file.
    """

    corners: tuple[float, float, float, float]
    label: str
    place: str
    span: Span | None = None
    order: int = 0
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class PictureBoxes:
    """The boxes of a picture. `size` is its width and height, as far as the file says it; `relative` says
    that numbers are shares of these.
    """

    boxes: list[AnnotatedBox]
    size: tuple[int, int] | None = None
    relative: bool = False


def beside(picture: Path, folder: str, others: str, ending: str) -> Path:
    """The file of a picture: in the folder `others` where that lies in `folder`, or next to it."""
    parts = list(picture.parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == folder]
    if places:
        parts[places[-1]] = others
    found, near = Path(*parts).with_suffix(ending), picture.with_suffix(ending)
    return near if places and not found.is_file() and near.is_file() else found


def yolo(path: Path, classes: list[str] | None) -> PictureBoxes | None:
    """The boxes of a .txt file; None where there is none, of a picture that shows nothing. Without `classes`
    they are called by their numbers. Raises `SpecError`.
    """
    text = _text(path)
    if text is None:
        return None
    lines = enumerate(text.split("\n"), 1)
    return PictureBoxes([_line(path, n, line, classes) for n, line in lines if line.strip()], None, True)


def _line(path: Path, number: int, line: str, classes: list[str] | None) -> AnnotatedBox:
    words, span = line.split(), in_line(str(path), number, line.rstrip("\r"))

    def wrong(what: str, help: str, code: str = "data-format") -> SpecError:
        return fail(code, f"line {number} of `{path}` {what}", help, span=span)

    if len(words) > 1 and _number(words[0]) is None:
        raise wrong(f"has {shown(words[0])}, which is not a number", "write numbers, between them a blank")
    if len(words) != NUMBERS:
        help = "write the class, the center's x and y, the width and the height: `0 0.5 0.5 0.2 0.3`"
        if len(words) == NUMBERS + 1:
            help = "take the score out: a line of training data has the class, the center, and the size"
        elif len(words) > NUMBERS and len(words) % 2:
            help = "it seems to be an outline: write the box around it, as `0 0.5 0.5 0.2 0.3`"
        raise wrong(f"has {len(words)} numbers, and not {NUMBERS}", help)
    values = [_number(word) for word in words]
    for word, value in zip(words, values, strict=True):
        if value is None:
            raise wrong(f"has {shown(word)}, which is not a number", "write numbers, between them a blank")
    label, x, y, width, height = (value or 0.0 for value in values)
    if label < 0 or label != math.floor(label):
        raise wrong(f"has the class {words[0]}, and classes are numbers from 0 on", "write its number")
    if classes is not None and label >= len(classes):
        what = f"has the class {words[0]}, and the {len(classes)} classes are numbered from 0"
        raise wrong(what, "correct the line, or name the class in `values` of the feature", "data-range")
    if max(x, y, width, height) > 1 or min(x, y) < 0:
        help = "divide pixels by the width and the height of the picture"
        raise wrong("has numbers that are not shares of the picture, from 0 to 1", help, "data-range")
    name = classes[int(label)] if classes is not None else str(int(label))
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return AnnotatedBox(corners, name, f"line {number}", span, int(label))


def _number(text: str) -> float | None:
    try:
        value = float(text) if "_" not in text and text.isascii() else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < TOP else None


def _text(path: Path) -> str | None:
    try:
        return content(path, LARGEST).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        raise fail("data-format", f"`{path}` is not text in UTF-8", "write the file again") from None
    except OSError as error:
        raise unreadable(path, error) from None


@dataclass(slots=True)
class _Element:
    """An element of XML: its text, its line, and those inside."""

    name: str
    line: int
    text: str = ""
    inner: list[_Element] = field(default_factory=list)

    def all(self, name: str) -> list[_Element]:
        return [each for each in self.inner if each.name == name]

    def one(self, name: str, path: Path) -> _Element | None:
        """The only one of this name, if there is one. Raises `SpecError`."""
        found = self.all(name)
        if len(found) > 1:
            what = f"<{self.name}> of `{path}`, line {self.line}, has <{name}> {len(found)} times"
            raise fail("data-format", what, "leave one", span=_span(path, found[1]))
        return found[0] if found else None


def voc(path: Path) -> PictureBoxes | None:
    """The boxes of an .xml file of Pascal VOC; None where there is none. Its pixels count from 1, and a box
    has those of all four sides. Raises `SpecError`.
    """
    try:
        data = content(path, LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    root = _parsed(path, data)
    if root.name != "annotation":
        message = f"`{path}` begins with <{root.name}>, and a file of Pascal VOC with <annotation>"
        raise fail("data-format", message, "export the annotations as Pascal VOC", span=_span(path, root))
    _need_objects(path, root)
    boxes = [_object(path, number, each) for number, each in enumerate(root.all("object"))]
    return PictureBoxes(boxes, _size(path, root))


def _object(path: Path, number: int, element: _Element) -> AnnotatedBox:
    what = f"object {number} of `{path}`, line {element.line},"
    name, bounds = (element.one(word, path) for word in ("name", "bndbox"))
    if name is None or not name.text.strip():
        raise fail("data-format", f"{what} has no <name>", "name its class", span=_span(path, element))
    if bounds is None:
        help = "a box is <bndbox><xmin>..</xmin><ymin>..</ymin><xmax>..</xmax><ymax>..</ymax></bndbox>"
        raise fail("data-format", f"{what} has no <bndbox>", help, span=_span(path, element))
    sides = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        found = bounds.one(side, path)
        if found is None:
            raise fail("data-format", f"{what} has no <{side}>", "add it", span=_span(path, bounds))
        value = _number(found.text.strip())
        if value is None:
            held = f"{what} has {shown(found.text.strip())} as <{side}>, which is not a number"
            raise fail("data-format", held, "write the pixel", span=_span(path, found))
        sides.append(value)
    left, top, right, bottom = sides
    place = f"object {number}, line {element.line}"
    return AnnotatedBox((left - 1, top - 1, right, bottom), name.text.strip(), place, _span(path, element))


def _size(path: Path, root: _Element) -> tuple[int, int] | None:
    """The width and height that a file says; None where it says none, or 0."""
    size = root.one("size", path)
    values = []
    for name in ("width", "height") if size is not None else ():
        each = size.one(name, path) if size is not None else None
        value = 0 if each is None or not each.text.strip() else _number(each.text.strip())
        if each is not None and (value is None or value < 0):
            what = f"line {each.line} of `{path}` has {shown(each.text.strip())} as <{name}>"
            raise fail("data-format", what, "write the pixels of the picture, or 0", span=_span(path, each))
        values.append(int(value or 0))
    return (values[0], values[1]) if len(values) == 2 and all(values) else None


def _span(path: Path, element: _Element) -> Span:
    return in_line(str(path), element.line)


def _need_objects(path: Path, root: _Element) -> None:
    """Raises `SpecError` for an object where none is read: it would be missing without a word."""
    waiting, wrong = [(root, each) for each in root.inner], []
    while waiting:
        parent, element = waiting.pop()
        waiting += [(element, each) for each in element.inner]
        if element.name.lower() == "object" and (element.name != "object" or parent is not root):
            wrong.append((parent, element))
    if wrong:
        parent, element = min(wrong, key=lambda pair: pair[1].line)
        what = f"line {element.line} of `{path}` has <{element.name}> in <{parent.name}>"
        help = "objects are <object> in <annotation>, one after another"
        raise fail("data-format", what, help, span=_span(path, element))


class _Refused(Exception):
    """Raised for a file that defines entities, which may grow without bound."""


def _parsed(path: Path, data: bytes) -> _Element:
    """The first element of a file. Raises `SpecError`."""
    parser = expat.ParserCreate()
    root = _Element("", 0)
    stack = [root]

    def start(name: str, attributes: Any) -> None:
        element = _Element(name, parser.CurrentLineNumber)
        stack[-1].inner.append(element)
        stack.append(element)

    def end(name: str) -> None:
        stack.pop()

    def text(held: str) -> None:
        stack[-1].text += held

    def entity(*_: Any) -> None:
        raise _Refused

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = text, entity
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        what = f"line {error.lineno} of `{path}` is not XML: {expat.ErrorString(error.code)}"
        span = in_line(str(path), error.lineno)
        raise fail("data-format", what, "write the file again", span=span) from None
    except _Refused:
        span = in_line(str(path), parser.CurrentLineNumber)
        what = f"line {parser.CurrentLineNumber} of `{path}` declares entities"
        raise fail("data-format", what, "write it without <!ENTITY ...>", span=span) from None
    except (ValueError, LookupError) as error:  # an unknown encoding
        raise fail("data-format", f"`{path}` is not XML: {error}", "save it as UTF-8") from None
    return root.inner[0]
