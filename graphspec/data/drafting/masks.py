"""A first spec for masks: pictures, and the class of each of their pixels, in two folders or in two columns
of a table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphspec.data.columns import is_text
from graphspec.data.drafting.images import ImageProfile, look_at, some
from graphspec.data.drafting.looks import ColumnProfile
from graphspec.data.drafting.parts import training
from graphspec.data.drafting.words import flow, word
from graphspec.data.encoders.images import Refused, opened
from graphspec.data.encoders.masks import COLOURED, bytes_of
from graphspec.data.folders import IMAGES, find
from graphspec.diagnostics import did_you_mean, fail
from graphspec.diagnostics.text import first_line
from graphspec.files.reading import need_regular

LOOKED = 1000
"""Masks whose pixels are counted: as many, evenly spread."""
MOST = 64
"""Classes of masks, at most: more values are those of a photo, or of a mask that was blended."""
IGNORED = 255
"""The pixel value that by custom belongs to no class, where the others count from 0."""
RARE = 20
"""How many times as many pixels the most frequent class has where classes are weighed."""
DEEPEST, SMALLEST = 4, 8
"""Steps down of the network, at most; and the height or width that they leave, at least."""
WIDTH = 16
"""Filters of the first step."""


@dataclass(frozen=True, slots=True)
class MaskPairs:
    """Pictures and their masks, as files; their names in the spec, and the keys of their features."""

    pictures: Sequence[Path]
    masks: Sequence[Path]
    picture: str
    mask: str
    picture_keys: str
    mask_keys: str


def of_folders(data: Path, target: str) -> tuple[Path, MaskPairs] | None:
    """The folder of pictures, and these with their masks in another one, `target`: a name inside of `data` or
    beside it, or a path; None where there is no such folder. Raises `SpecError` (data-missing, data-format).
    """
    places = [data / target, data.parent / target, *([Path(target)] if Path(target).name != target else [])]
    masks = next((each for each in places if os.path.isdir(each)), None)
    if not data.is_dir() or masks is None:
        return None
    folder = data
    if masks.parent == data:
        others = [each for each in sorted(data.iterdir()) if each.is_dir() and each != masks]
        others = [each for each in others if each.name[0] not in "._"]
        if len(others) != 1:
            names = ", ".join(f"`{each.name}`" for each in others) or "none"
            message = (
                f"`{data}` has the masks `{target}`, and one folder of pictures besides is expected: {names}"
            )
            raise fail("data-format", message, f"name the pictures: `--data {data / 'images'}`")
        (folder,) = others
    source, ending = find(folder), None
    if source.kind != "images" or not source.files:
        raise fail("data-format", f"`{folder}` holds no images", f"images end in {', '.join(IMAGES)}")
    found = [masks / each.relative_to(folder) for each in source.files]
    if not found[0].is_file():
        ending = _ending(masks, source.files[0].relative_to(folder))
        found = [each.with_suffix("").with_name(each.stem + ending) for each in found]
    absent = [index for index, each in enumerate(found) if not each.is_file()]
    if absent:
        first = source.files[absent[0]]
        more = f", nor of {len(absent) - 1} more pictures" if absent[1:] else ""
        message = f"there is no mask `{found[absent[0]]}` of `{first}`{more}"
        raise fail("data-missing", message, "add the mask, or take the picture out")
    root = os.path.relpath(masks, folder)
    keys = f"column: image, encode: image, root: {flow(root)}"
    keys += f", ending: {flow(ending)}" if ending is not None else ""
    name = word(masks.name)
    return folder, MaskPairs(source.files, found, "image", name, "column: image, encode: image", keys)


def _ending(masks: Path, first: Path) -> str:
    """The ending of a mask's name, after the name of its picture, by the first picture."""
    folder = masks / first.parent
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    fitting = [name for name in names if name.startswith(first.stem) and name.lower().endswith(IMAGES)]
    if fitting:
        return min(fitting, key=len)[len(first.stem) :]
    message = f"there is no mask of `{first}` in `{masks}`"
    help = did_you_mean(first.name, names, "a mask has the name of its picture, or one that begins with it")
    raise fail("data-missing", message, help)


def of_columns(
    looks: Sequence[ColumnProfile], columns: Mapping[str, pa.Array], target: str, root: Path
) -> MaskPairs:
    """Pictures and masks that two columns of a table name. Raises `SpecError` (data-column)."""
    pictures = [seen for seen in looks if seen.images is not None and seen.name != target]
    if len(pictures) != 1:
        names = ", ".join(f"`{seen.name}`" for seen in pictures) or "none"
        message = f"`{target}` holds masks, and one column of their pictures is expected: {names}"
        raise fail("data-column", message, "leave the others out of the table")
    both = [pictures[0], next(seen for seen in looks if seen.name == target)]
    there = pc.and_(*(pc.is_valid(columns[seen.name]) for seen in both))
    files, keys = list[list[Path]](), list[str]()
    for seen in both:
        names = columns[seen.name].filter(there)
        if not is_text(names.type):
            raise fail("data-column", f"column `{seen.name}` holds bytes", "name files: save them first")
        inner = seen.images.root if seen.images is not None else None
        files.append([root / (inner or "") / each for each in names.to_pylist()])
        place = f", root: {flow(inner)}" if inner is not None else ""
        keys.append(f"column: {flow(seen.name)}, encode: image{place}")
    return MaskPairs(files[0], files[1], word(pictures[0].name), word(target), keys[0], keys[1])


@dataclass(frozen=True, slots=True)
class MaskProfile:
    """The pixels of masks by their value, [256]; `looked` masks were counted."""

    counts: NDArray[np.int64]
    looked: int

    @property
    def values(self) -> list[int]:
        return [int(value) for value in np.flatnonzero(self.counts)]

    @property
    def ignored(self) -> bool:
        """Whether the last value belongs to no class."""
        *others, last = self.values
        return last == IGNORED and len(others) > 1 and others[-1] < MOST

    @property
    def numbered(self) -> bool:
        """Whether values are the numbers of classes themselves."""
        return self.ignored or self.values == list(range(len(self.values)))

    @property
    def classes(self) -> list[int]:
        """The pixel value of each class."""
        values = self.values[:-1] if self.ignored else self.values
        return list(range(values[-1] + 1)) if self.numbered else values

    @property
    def shares(self) -> dict[int, float]:
        """Of each class that there is, the share of the pixels that count."""
        counts = {value: int(self.counts[value]) for value in self.classes if self.counts[value]}
        return {value: count / sum(counts.values()) for value, count in counts.items()}


def look(pairs: MaskPairs) -> MaskProfile:
    """Profiles masks. Raises `SpecError`, a data-... code with the file."""
    step = -(-len(pairs.masks) // LOOKED)
    counts = np.zeros(256, np.int64)
    for picture, mask in zip(pairs.pictures[::step], pairs.masks[::step], strict=True):
        counts += np.bincount(_pixels(picture, mask).reshape(-1), minlength=256)
    seen = MaskProfile(counts, len(pairs.masks[::step]))
    if len(seen.values) < 2:
        message = f"all pixels of {seen.looked} masks are {seen.values[0]}: there is one class"
        raise fail("data-range", message, "a mask has a value for each of two classes or more")
    if len(seen.classes) > MOST:
        message = f"the masks have {len(seen.values)} pixel values, and classes are at most {MOST}"
        help = "save masks as PNG, as JPEG and resizing blend classes; or name the folder of the masks"
        raise fail("data-range", message, help)
    return seen


def _pixels(picture: Path, mask: Path) -> NDArray[np.uint8]:
    try:
        need_regular(mask)
        need_regular(picture)
        with opened(mask) as image, opened(picture) as photo:
            pixels = np.asarray(bytes_of(image))
            height, width = pixels.shape
            if abs(height * photo.width - width * photo.height) > max(photo.size) * 2:
                sizes = f"{width} x {height}, and its picture `{picture}` {photo.width} x {photo.height}"
                help = "a mask has the proportions of its picture"
                raise fail("data-shape", f"the mask `{mask}` is {sizes}", help)
            return pixels
    except Refused as error:
        raise fail("data-range", f"the mask `{mask}` {error}", COLOURED) from None
    except FileNotFoundError as error:
        message = f"there is no file `{error.filename}`"
        raise fail("data-missing", message, "give each picture a mask, or leave the row out") from None
    except (OSError, ValueError, SyntaxError) as error:
        message = f"`{mask}` or `{picture}` cannot be read: {first_line(error)}"
        raise fail("data-format", message, "replace the file, or take it out") from None


BLOCKS = """\
  double:
    params: {filters: required}
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: $filters, kernel_size: 3, padding: same, use_bias: false}
      norm: {layer: BatchNormalization, momentum: 0.9}  # few steps an epoch: its means follow them at once
      act:  {layer: Activation, activation: relu}
      last: {layer: Conv2D, filters: $filters, kernel_size: 3, padding: same, activation: relu}
  down:
    params: {filters: required}
    inputs: [x]
    nodes:
      skip: {block: double, filters: $filters}
      pool: {layer: MaxPooling2D}
    outputs: {x: pool, skip: skip}
  up:
    params: {filters: required}
    inputs: [x, skip]
    nodes:
      grown:  {layer: UpSampling2D, from: x}
      joined: {merge: concatenate, from: [grown, skip]}
      fused:  {block: double, filters: $filters}
    outputs: {x: fused}
"""


def draft_masks(name: str, pairs: MaskPairs, path: str, train: str) -> str:
    """The text of a spec that predicts masks; `path` is what it learns from, as people and as the spec write
    it. Raises `SpecError`, a data-... code.
    """
    seen, profile = look(pairs), look_at(some(pairs.pictures))
    if profile is None:
        message = f"`{pairs.pictures[0]}` and the other pictures cannot be read"
        raise fail("data-format", message, "replace the files")
    return "\n".join(_lines(name, pairs, path, train, seen, profile)) + "\n"


def _lines(
    name: str, pairs: MaskPairs, path: str, train: str, seen: MaskProfile, profile: ImageProfile
) -> Iterator[str]:
    smaller = min(profile.height, profile.width)
    depth = max(1, min(DEEPEST, (smaller // SMALLEST).bit_length() - 1))
    height, width = (max(1, round(size / 2**depth)) * 2**depth for size in (profile.height, profile.width))
    picture, mask, classes = pairs.picture, pairs.mask, seen.classes
    two = len(classes) == 2 and not seen.ignored
    scale = f"from: {picture}, scale: $(1 / 127.5), offset: -1"
    head = "filters: 1, kernel_size: 1, activation: sigmoid"
    loss, metrics = "binary_crossentropy", "[binary_accuracy, binary_iou, binary_dice]"
    if not two:
        head = f"filters: {len(classes)}, kernel_size: 1, activation: softmax"
        loss, metrics = "sparse_categorical_crossentropy", "[accuracy, mean_iou, mean_dice]"
    if seen.ignored:
        loss = f"{{name: {loss}, ignore_class: {IGNORED}}}"
        counting = (f"{{name: {each}, ignore_class: {IGNORED}}}" for each in ("mean_iou", "mean_dice"))
        metrics = f"[{', '.join(counting)}]"
    shares = sorted(seen.shares.values())
    rare = shares[-1] > RARE * shares[0]
    spoken = ", ".join(f"{value}: {share:.1%}" for value, share in seen.shares.items())
    ignored = f"; {IGNORED} does not count" if seen.ignored else ""
    looked = "all" if seen.looked == len(pairs.masks) else f"{seen.looked:,} of {len(pairs.masks):,}"
    yield f"# A first spec for {path}, to start from. It predicts the class of each pixel, `{mask}`."
    yield f"# Check it with `graphspec check {name}.yaml`, train it with `graphspec train {name}.yaml`."
    yield f"# Classes are the pixel values of {looked} masks, with their shares: {spoken}{ignored}."
    yield from ("", f"params: {{depth: {depth}}}  # height and width are multiples of 2 ** depth")
    yield from ("inputs:", f"  {picture}: {{shape: [{height}, {width}, {profile.channels}]}}")
    yield from ("blocks:", BLOCKS.rstrip("\n"), "nodes:")
    yield f"  scaled: {{layer: Rescaling, {scale}}}"
    yield f"  downs:  {{block: down, repeat: $depth, filters: $({WIDTH} * 2 ** index)}}"
    yield f"  bottom: {{block: double, filters: $({WIDTH} * 2 ** depth)}}"
    yield from ("  ups:", "    block: up", "    repeat: $depth")
    yield "    from: {x: bottom, skip: downs.$(depth - 1 - index).skip}"
    yield f"    filters: $({WIDTH} * 2 ** (depth - 1 - index))"
    yield f"  {mask}: {{layer: Conv2D, {head}}}"
    yield from ("outputs:", f"  {mask}:", f"    loss: {loss}", f"    metrics: {metrics}")
    if rare:
        yield "    class_weight: balanced  # the rarest class has few of the pixels"
    yield from ("data:", f"  train: {train}")
    yield "  validation: {split: 0.2}  # a random fifth of the pictures measures the model"
    yield from (
        "  features:",
        f"    # resized to {height} x {width}; predictions have the size of the picture",
    )
    yield f"    {picture}: {{{pairs.picture_keys}}}"
    yield "    # if mirrored pictures mean the same, add `augment: [{layer: RandomFlip, mode: horizontal}]`"
    values = "" if seen.numbered else f", values: {flow(classes)}"
    yield f"    {mask}: {{{pairs.mask_keys}{values}}}"
    yield from ("", *training(0.002, 100, 8, 15, plateau=7))
