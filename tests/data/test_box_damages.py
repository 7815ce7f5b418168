"""Damaged files of boxes: each is told by its place, or read as the language reference says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from graphspec.diagnostics import SpecError
from tests.data import box_damages
from tests.data.boxed import write
from tests.data.test_boxes import boxes, expected, loaded

DAMAGES = {"coco": box_damages.COCO, "yolo": box_damages.YOLO, "voc": box_damages.VOC}
READ = {
    "coco": """a byte order mark; lines of Windows; an id of text; an annotation's id twice; a name of two
        words; a name with a line's end""",
    "yolo": """a byte order mark; lines of Windows; tabs; blanks around; a form feed; a blank that does
        not break; other endings""",
    "voc": """a byte order mark; lines of Windows; UTF-16; a declaration; a comment in a name; a name as it
        is; a type of document elsewhere; a letter by its number; a namespace; another ending;
        a width of 0""",
}
"""Those that change nothing of the boxes."""
NOTED = {
    "coco": {"corners for sizes": "1 of 6 rows with boxes clipped"},
    "yolo": {
        "empty": "2 of 6 rows without boxes",
        "blanks alone": "2 of 6 rows without boxes",
        "other names": "2 of 6 rows without boxes",
        "corners": "1 of 6 rows with boxes clipped",
        "beyond the edge": "1 of 6 rows with boxes clipped",
        "a plus": "2 classes",
        "an exponent": "2 classes",
        "a class of 1.0": "2 classes",
        "a box twice": "at most 3 boxes",
    },
    "voc": {
        "latin-1 that says so": "3 classes",
        "an ampersand that is escaped": "3 classes",
        "ten thousand levels": "2 of 6 rows without boxes",
        "pixels counted from 0": "2 classes",
    },
}
"""What is noted of those that are read."""
TOLD = {
    "coco": {
        "UTF-16": "data-format: `.*boxes.json` is not UTF-8",
        "a comma at the end": "data-format: line 1 of .* is not JSON: ",
        "a comment": "data-format: line 1 of .* is not JSON",
        "two documents": "is not JSON: Extra data",
        "a line for each object": "line 2 of .* is not JSON: Extra data",
        "quotes of Python": "is not JSON: Expecting property name enclosed in double quotes",
        "a key twice": "data-empty: .* holds no examples",
        "blanks alone": "line 3 of .* is not JSON",
        "null": "data-format: `format: coco` reads a .json of COCO",
        "zeros after the end": "is not JSON: Extra data",
        "a folder": "data-empty: .* is an empty folder",
        "a link to itself": "data-missing: .* cannot be read",
        "a file of two gigabytes": "data-missing: .* it has 2,147,483,648 bytes, more than",
        "a box of NaN": r"`annotations` of .*, number 0 .id 1.: its `bbox` is .8, 8, nan, 16., and not left",
        "a box of Infinity": "its `bbox` is .8, 8, inf, 16., and not left",
        "a box of 1e999": "its `bbox` is .8, 8, inf, 16., and not left",
        "a box of 1e300": "its `bbox` is .8, 8, 1e.300, 16., and not left",
        "a box of truths": "its `bbox` is .True, True, True, True., and not left",
        "a box of shares": "data-range: .* picture `0.png`, annotation 0 .* in shares of the picture",
        "a box in a list": "its `bbox` is ..8, 8, 32, 16.., and not left",
        "a box as an object": "its `bbox` is .*, and not a list",
        "a box as a text": "its `bbox` is .8 8 32 16., and not a list",
        "a box of five": "its `bbox` is .8, 8, 32, 16, 0.3., and not left",
        "a width of 0": "data-range: .* picture `0.png`, annotation 0 .* has no area",
        "a negative left side": "data-range: .* lies outside of the picture, 64 x 48",
        "a category of 7.0": "its `category_id` is 7.0, and not a number or a text",
        "a category of true": "its `category_id` is True, and not a number or a text",
        "a category counted from 0": "its `category_id` 0 is the id of none of the `categories`",
        "a name of blanks": "`categories` of .*, number 0 .id 7.: its `name` .* is of blanks alone",
        "half of a letter": "number 0 .id 7.: its `name` .* is half of a letter",
        "nested categories": "`categories` of .* is .*, and not a list",
        "an absolute path": "data-outside: .* picture `/etc/passwd`: .* is outside of",
        "a path of Windows": "data-missing: .* there is no file `images.0.png`",
        "a URL": "data-missing: .* there is no file `http://localhost/0.png`",
        "a name with a zero": "data-outside: column `image` of",
        "a huge height": "`images` of .*, number 0 .id 100.: its `height` is 10*, and not a whole number",
        "a height of half pixels": "its `height` is 48.5, and not a whole number",
        "the sides swapped": "the picture is said to be 48 x 64 pixels, and is 64 x 48",
        "an empty picture": "data-format: .* picture `0.png` cannot be read",
        "half of a picture": "data-format: .* picture `0.png` cannot be read: image file is truncated",
        "a picture that is a folder": "data-format: .* picture `0.png` cannot be read: .*directory",
    },
    "yolo": {
        "lines of old Macs": "data-format: line 1 of .*0.txt` has 10 numbers, and not 5",
        "a line separator": "line 1 of .* has 10 numbers, and not 5",
        "UTF-16": "data-format: .*0.txt` is not text in UTF-8",
        "a zero": "which is not a number",
        "a comment": "line 1 of .* has .#., which is not a number",
        "a header": "line 1 of .* has .class., which is not a number",
        "semicolons": "line 1 of .* has 1 numbers, and not 5",
        "json": "which is not a number",
        "1e999": "has .1e999., which is not a number",
        "1e-9": "data-range: .*0.txt`, line 1: the box .* has no area",
        "minus infinity": "has .-inf., which is not a number",
        "NaN as a class": "has .nan., which is not a number",
        "a hexadecimal number": "has .0x1., which is not a number",
        "a class of 1e3": "data-range: line 1 of .* has the class 1e3, and the 2 classes",
        "a class of 2 ** 64": "has .18446744073709551616., which is not a number",
        "classes counted from 1": "data-range: line 2 of .* has the class 2, and the 2 classes",
        "pixels": "data-range: line 1 of .* are not shares of the picture",
        "percent": "has .50%., which is not a number",
        "wider than the picture": "data-range: line 1 of .* are not shares of the picture",
        "a width below 0": "data-range: .*0.txt`, line 1: the box .* has no area",
        "an oriented box": "line 1 of .* has 9 numbers, and not 5",
        "keypoints": "line 1 of .* has 11 numbers, and not 5",
        "a picture": "is not text in UTF-8",
        "a file of 20 megabytes": "data-missing: .*0.txt` cannot be read: it has 20,971,520 bytes",
        "a link to itself": "data-missing: .*0.txt` cannot be read",
        "all files are folders": "data-missing: .*0.txt` cannot be read: Is a directory",
        "a file for the folder": "data-empty: no picture for training has a box",
    },
    "voc": {
        "latin-1 that does not": "data-format: line 4 of .*0.xml` is not XML",
        "a blank before the declaration": "line 1 of .* is not XML",
        "an entity that grows": "line 1 of .* declares entities",
        "an entity of a file": "line 1 of .* declares entities",
        "a parameter entity": "line 1 of .* declares entities",
        "an unknown entity": "line 4 of .* is not XML: undefined entity",
        "a prefix": "begins with <v:annotation>",
        "capital letters": "line 3 of .* has <Object> in <annotation>",
        "two roots": "line 12 of .* is not XML: junk after document element",
        "text after the end": "line 12 of .* is not XML: junk after document element",
        "cut off": "line 5 of .* is not XML",
        "zeros after the end": "line 12 of .* is not XML",
        "empty": "line 1 of .* is not XML: no element found",
        "json": "line 1 of .* is not XML: syntax error",
        "a file of 20 megabytes": "data-missing: .*0.xml` cannot be read: it has 20,971,520 bytes",
        "a folder": "data-missing: .*0.xml` cannot be read: Is a directory",
        "a link to itself": "data-missing: .*0.xml` cannot be read",
        "an object in an object": "line 4 of .* has <object> in <object>",
        "objects in a list": "line 3 of .* has <object> in <objects>",
        "two names": "<object> of .*, line 3, has <name> 2 times",
        "two boxes of an object": "<object> of .*, line 3, has <bndbox> 2 times",
        "a polygon": "object 0 of .*, line 3, has no <bndbox>",
        "a box of shares": "data-range: .*0.xml`, object 0, line 3: the box .* in shares of the picture",
        "left, top and size": "object 0 of .*, line 3, has no <xmax>",
        "attributes": "object 0 of .*, line 3, has no <xmin>",
        "1e999": "object 0 of .*, line 3, has .1e999. as <xmax>, which is not a number",
        "NaN": "object 0 of .*, line 3, has .NaN. as <ymax>, which is not a number",
        "a decimal comma": "has .40,5. as <xmax>, which is not a number",
        "a negative width": "line 2 of .* has .-64. as <width>",
        "a width in words": "line 2 of .* has .wide. as <width>",
        "the sides swapped": "the picture is said to be 48 x 64 pixels, and is 64 x 48",
    },
}
"""Code and message of the others."""


def read(format: str) -> set[str]:
    return {name.strip() for name in " ".join(READ[format].split()).split(";")}


@pytest.mark.parametrize("format", DAMAGES)
def test_what_is_expected_of_each_damage_is_written(format: str) -> None:
    names = [*read(format), *NOTED[format], *TOLD[format]]
    assert len(DAMAGES[format]) >= 40 and sorted(names) == sorted(DAMAGES[format])


@pytest.mark.parametrize(("format", "name"), [(format, name) for format in TOLD for name in TOLD[format]])
def test_a_damage_is_told_with_its_place(format: str, name: str, tmp_path: Path) -> None:
    train, features = write(tmp_path, format)
    DAMAGES[format][name](tmp_path)
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, train, features)
    first = caught.value.diagnostics[0]
    assert re.search(TOLD[format][name], f"{first.code}: {first.message}", re.DOTALL), first
    assert first.help or "cannot be read" in first.message


@pytest.mark.parametrize("format", DAMAGES)
def test_what_is_read_in_spite_of_a_damage(format: str, tmp_path: Path) -> None:
    for place, name in enumerate([*read(format), *NOTED[format]]):
        folder = tmp_path / str(place)
        folder.mkdir()
        train, features = write(folder, format)
        DAMAGES[format][name](folder)
        data = loaded(folder, train, features)
        if name in NOTED[format]:
            assert NOTED[format][name] in data.notes[0], (name, data.notes)
        else:
            assert np.abs(boxes(data) - expected()).max() < 1e-4, name
