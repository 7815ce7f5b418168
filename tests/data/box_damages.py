"""Damages of files of boxes, more than forty in each of three formats: what each does to a folder that
`boxed.write` made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Damage = Callable[[Path], object]


def _json(change: Callable[[dict[str, Any]], object]) -> Damage:
    """A change of the document, which is written as it is."""

    def damage(folder: Path) -> None:
        file = folder / "boxes.json"
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))

    return damage


def _text(file: str, change: Callable[[str], str]) -> Damage:
    """A change of the text of a file."""

    def damage(folder: Path) -> None:
        path = folder / file
        path.write_bytes(change(path.read_text()).encode("utf-8", "surrogatepass"))

    return damage


def _bytes(file: str, content: bytes) -> Damage:
    return lambda folder: (folder / file).write_bytes(content)


def _swap(file: str, old: str, new: str) -> Damage:
    def change(text: str) -> str:
        assert old in text, (old, text)
        return text.replace(old, new, 1)

    return _text(file, change)


def _folder_at(file: str) -> Damage:
    """A folder in place of a file."""

    def damage(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return damage


def _away(file: str) -> Damage:
    return lambda folder: (folder / file).unlink()


def _renamed(old: str, new: str) -> Damage:
    return lambda folder: (folder / old).rename(folder / new)


def _locked(file: str) -> Damage:
    """A link that leads to itself: no user can read it."""

    def damage(folder: Path) -> None:
        (folder / file).unlink()
        os.symlink(folder / file, folder / file)

    return damage


def _grown(file: str, size: int) -> Damage:
    """A file with a hole: so large, and of few bytes on disk."""

    def damage(folder: Path) -> None:
        with (folder / file).open("r+b") as stream:
            stream.truncate(size)

    return damage


def _box(*numbers: Any) -> Damage:
    return _json(lambda d: d["annotations"][0].update(bbox=list(numbers)))


def _image(**values: Any) -> Damage:
    return _json(lambda d: d["images"][0].update(values))


def _annotation(**values: Any) -> Damage:
    return _json(lambda d: d["annotations"][0].update(values))


def _category(**values: Any) -> Damage:
    return _json(lambda d: d["categories"][0].update(values))


def _raw(old: str, new: str) -> Damage:
    return _swap("boxes.json", old, new)


PICTURE = "images/0.png"
COCO: dict[str, Damage] = {
    "a byte order mark": _text("boxes.json", lambda t: "\ufeff" + t),
    "lines of Windows": _text("boxes.json", lambda t: t.replace(", ", ",\r\n")),
    "UTF-16": lambda f: (f / "boxes.json").write_bytes((f / "boxes.json").read_text().encode("utf-16")),
    "a comma at the end": _text("boxes.json", lambda t: t[:-1] + ",}"),
    "a comment": _text("boxes.json", lambda t: "// exported\n" + t),
    "two documents": _text("boxes.json", lambda t: t + t),
    "a line for each object": _text("boxes.json", lambda t: t + "\n" + t),
    "quotes of Python": _text("boxes.json", lambda t: t.replace('"', "'")),
    "a key twice": _raw('"annotations":', '"images": [], "annotations":'),
    "blanks alone": _bytes("boxes.json", b" \n\t\n"),
    "null": _bytes("boxes.json", b"null"),
    "zeros after the end": _text("boxes.json", lambda t: t + "\0" * 9),
    "a folder": _folder_at("boxes.json"),
    "a link to itself": _locked("boxes.json"),
    "a file of two gigabytes": _grown("boxes.json", 2**31),
    "a box of NaN": _raw("[8, 8, 32, 16]", "[8, 8, NaN, 16]"),
    "a box of Infinity": _raw("[8, 8, 32, 16]", "[8, 8, Infinity, 16]"),
    "a box of 1e999": _raw("[8, 8, 32, 16]", "[8, 8, 1e999, 16]"),
    "a box of 1e300": _raw("[8, 8, 32, 16]", "[8, 8, 1e300, 16]"),
    "a box of truths": _box(True, True, True, True),
    "a box of shares": _box(0.125, 0.1666, 0.5, 0.3333),
    "corners for sizes": _json(lambda d: [a.update(bbox=[40, 40, 63, 47]) for a in d["annotations"][:1]]),
    "a box in a list": _box([8, 8, 32, 16]),
    "a box as an object": _annotation(bbox={"x": 8, "y": 8, "w": 32, "h": 16}),
    "a box as a text": _annotation(bbox="8 8 32 16"),
    "a box of five": _box(8, 8, 32, 16, 0.3),
    "a width of 0": _box(8, 8, 0, 16),
    "a negative left side": _box(-200, 8, 32, 16),
    "an id of text": _annotation(id="first"),
    "an annotation's id twice": _annotation(id=2),
    "a category of 7.0": _annotation(category_id=7.0),
    "a category of true": _annotation(category_id=True),
    "a category counted from 0": _annotation(category_id=0),
    "a name of two words": _category(name="stray \u732b"),
    "a name of blanks": _category(name="  "),
    "a name with a line's end": _category(name="cat\ndog"),
    "half of a letter": _raw('"cat"', '"\\ud83d"'),
    "nested categories": _json(lambda d: d.update(categories={"animals": d["categories"]})),
    "an absolute path": _image(file_name="/etc/passwd"),
    "a path of Windows": _image(file_name="images\\0.png"),
    "a URL": _image(file_name="http://localhost/0.png"),
    "a name with a zero": _image(file_name="0\0.png"),
    "a huge height": _image(height=10**30),
    "a height of half pixels": _image(height=48.5),
    "the sides swapped": _image(width=48, height=64),
    "an empty picture": _bytes(PICTURE, b""),
    "half of a picture": lambda f: (f / PICTURE).write_bytes((f / PICTURE).read_bytes()[:60]),
    "a picture that is a folder": _folder_at(PICTURE),
}

LABEL = "labels/0.txt"
YOLO: dict[str, Damage] = {
    "a byte order mark": _text(LABEL, lambda t: "\ufeff" + t),
    "lines of Windows": _text(LABEL, lambda t: t.replace("\n", "\r\n")),
    "lines of old Macs": _text(LABEL, lambda t: t.replace("\n", "\r")),
    "tabs": _text(LABEL, lambda t: t.replace(" ", "\t")),
    "blanks around": _text(LABEL, lambda t: "\n\n  " + t.replace("\n", "  \n") + "\n\n"),
    "a form feed": _text(LABEL, lambda t: t.replace("\n", "\f\n")),
    "a line separator": _text(LABEL, lambda t: t.replace("\n", "\u2028")),
    "a blank that does not break": _text(LABEL, lambda t: t.replace(" ", "\u00a0")),
    "UTF-16": lambda f: (f / LABEL).write_bytes((f / LABEL).read_text().encode("utf-16")),
    "a zero": _bytes(LABEL, b"0 0.5 0.5 0.2 0.2\0\n"),
    "empty": _bytes(LABEL, b""),
    "blanks alone": _bytes(LABEL, b" \n \n"),
    "a comment": _bytes(LABEL, b"# class x y w h\n0 0.5 0.5 0.2 0.2\n"),
    "a header": _bytes(LABEL, b"class x y w h\n0 0.5 0.5 0.2 0.2\n"),
    "semicolons": _bytes(LABEL, b"0;0.5;0.5;0.2;0.2\n"),
    "json": _bytes(LABEL, b'{"boxes": []}'),
    "1e999": _bytes(LABEL, b"0 0.5 0.5 1e999 0.2\n"),
    "1e-9": _bytes(LABEL, b"0 0.5 0.5 1e-9 0.2\n"),
    "minus infinity": _bytes(LABEL, b"0 0.5 0.5 -inf 0.2\n"),
    "NaN as a class": _bytes(LABEL, b"nan 0.5 0.5 0.2 0.2\n"),
    "a hexadecimal number": _bytes(LABEL, b"0 0x1 0.5 0.2 0.2\n"),
    "a plus": _bytes(LABEL, b"+0 +0.5 +0.5 +0.2 +0.2\n"),
    "an exponent": _bytes(LABEL, b"0 5e-1 5e-1 2e-1 2e-1\n"),
    "a class of 1.0": _bytes(LABEL, b"1.0 0.5 0.5 0.2 0.2\n"),
    "a class of 1e3": _bytes(LABEL, b"1e3 0.5 0.5 0.2 0.2\n"),
    "a class of 2 ** 64": _bytes(LABEL, b"18446744073709551616 0.5 0.5 0.2 0.2\n"),
    "classes counted from 1": _bytes(LABEL, b"1 0.5 0.5 0.2 0.2\n2 0.3 0.3 0.1 0.1\n"),
    "corners": _bytes(LABEL, b"0 0.9 0.9 0.95 0.95\n"),
    "pixels": _bytes(LABEL, b"0 24 16 32 16\n"),
    "percent": _bytes(LABEL, b"0 50% 50% 20% 20%\n"),
    "beyond the edge": _bytes(LABEL, b"0 0.95 0.5 0.4 0.2\n"),
    "wider than the picture": _bytes(LABEL, b"0 0.5 0.5 1.5 0.2\n"),
    "a width below 0": _bytes(LABEL, b"0 0.5 0.5 -0.2 0.2\n"),
    "a box twice": _text(LABEL, lambda t: t + t.splitlines()[0] + "\n"),
    "an oriented box": _bytes(LABEL, b"0 0.1 0.1 0.4 0.1 0.4 0.3 0.1 0.3\n"),
    "keypoints": _bytes(LABEL, b"0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.4 0.4 2\n"),
    "a picture": lambda f: (f / LABEL).write_bytes((f / "images/0.png").read_bytes()),
    "a file of 20 megabytes": _grown(LABEL, 20 * 2**20),
    "a link to itself": _locked(LABEL),
    "other endings": _renamed(LABEL, "labels/0.TXT"),
    "other names": _renamed(LABEL, "labels/zero.txt"),
    "all files are folders": lambda f: [_folder_at(f"labels/{n}.txt")(f) for n in range(6)],
    "a file for the folder": lambda f: (_renamed("labels", "old")(f), (f / "labels").write_text("")),
}

XML = "Annotations/0.xml"


def _xml(old: str, new: str) -> Damage:
    return _swap(XML, old, new)


BOX = "<xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>24</ymax>"
VOC: dict[str, Damage] = {
    "a byte order mark": _text(XML, lambda t: "\ufeff" + t),
    "lines of Windows": _text(XML, lambda t: t.replace("\n", "\r\n")),
    "UTF-16": lambda f: (f / XML).write_bytes((f / XML).read_text().encode("utf-16")),
    "latin-1 that says so": lambda f: (f / XML).write_bytes(
        b'<?xml version="1.0" encoding="latin-1"?>'
        + (f / XML).read_text().replace("cat", "k\xe4tzchen").encode("latin-1")
    ),
    "latin-1 that does not": lambda f: (f / XML).write_bytes(
        (f / XML).read_text().replace("cat", "k\xe4t").encode("latin-1")
    ),
    "a blank before the declaration": _text(XML, lambda t: ' <?xml version="1.0"?>' + t),
    "a declaration": _text(XML, lambda t: '<?xml version="1.0" encoding="utf-8"?>\n' + t),
    "a comment in a name": _xml("<name>cat</name>", "<name>c<!-- a -->at</name>"),
    "a name as it is": _xml("<name>cat</name>", "<name><![CDATA[cat]]></name>"),
    "an entity that grows": _text(
        XML, lambda t: '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>' + t.replace("cat", "&b;")
    ),
    "an entity of a file": _text(
        XML, lambda t: '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + t.replace("cat", "&a;")
    ),
    "a parameter entity": _text(XML, lambda t: '<!DOCTYPE a [<!ENTITY % p "x"> %p;]>' + t),
    "an unknown entity": _xml("<name>cat</name>", "<name>&cat;</name>"),
    "a type of document elsewhere": _text(
        XML, lambda t: '<!DOCTYPE annotation SYSTEM "http://localhost/a.dtd">' + t
    ),
    "a letter by its number": _xml("<name>cat</name>", "<name>&#99;at</name>"),
    "an ampersand that is escaped": _xml("<name>cat</name>", "<name>cat &amp; dog</name>"),
    "a namespace": _xml("<annotation>", '<annotation xmlns="http://localhost/voc">'),
    "a prefix": _text(XML, lambda t: t.replace("<", "<v:").replace("<v:/", "</v:")),
    "capital letters": _text(XML, lambda t: t.replace("object>", "Object>")),
    "two roots": _text(XML, lambda t: t + t),
    "text after the end": _text(XML, lambda t: t + "end"),
    "cut off": _text(XML, lambda t: t[: len(t) // 2]),
    "zeros after the end": _text(XML, lambda t: t + "\0\0"),
    "empty": _bytes(XML, b""),
    "json": _bytes(XML, b"[]"),
    "ten thousand levels": _bytes(XML, b"<annotation>" + b"<a>" * 10000 + b"</a>" * 10000 + b"</annotation>"),
    "a file of 20 megabytes": _grown(XML, 20 * 2**20),
    "a folder": _folder_at(XML),
    "a link to itself": _locked(XML),
    "another ending": _renamed(XML, "Annotations/0.XML"),
    "an object in an object": _xml("<name>cat</name>", "<object><name>dog</name></object><name>cat</name>"),
    "objects in a list": _text(
        XML,
        lambda t: t.replace("<object>", "<objects><object>", 1).replace(
            "</object>\n<", "</object></objects>\n<", 1
        ),
    ),
    "two names": _xml("<name>cat</name>", "<name>cat</name><name>dog</name>"),
    "two boxes of an object": _xml("</bndbox>", "</bndbox><bndbox><xmin>1</xmin></bndbox>"),
    "a polygon": _text(XML, lambda t: t.replace("bndbox", "polygon")),
    "a box of shares": _xml(BOX, "<xmin>0.1</xmin><ymin>0.1</ymin><xmax>0.6</xmax><ymax>0.5</ymax>"),
    "left, top and size": _xml(BOX, "<xmin>9</xmin><ymin>9</ymin><width>32</width><height>16</height>"),
    "attributes": _xml(f"<bndbox>{BOX}</bndbox>", '<bndbox xmin="9" ymin="9" xmax="40" ymax="24"/>'),
    "1e999": _xml("<xmax>40</xmax>", "<xmax>1e999</xmax>"),
    "NaN": _xml("<ymax>24</ymax>", "<ymax>NaN</ymax>"),
    "a decimal comma": _xml("<xmax>40</xmax>", "<xmax>40,5</xmax>"),
    "pixels counted from 0": _xml("<xmin>9</xmin>", "<xmin>0</xmin>"),
    "a width of 0": _xml("<width>64</width>", "<width>0</width>"),
    "a negative width": _xml("<width>64</width>", "<width>-64</width>"),
    "a width in words": _xml("<width>64</width>", "<width>wide</width>"),
    "the sides swapped": _xml("<width>64</width><height>48</height>", "<width>48</width><height>64</height>"),
}
