"""A small run whose table has a column for every encoder, and rows as people write them."""

from __future__ import annotations

import atexit
import json
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import graphspec
from graphspec.runs.run import Run
from graphspec.train.loop import train as train_program

SPEC = """\
name: everything
inputs:
  facts:  {shape: [6]}
  plain:  {shape: [2]}
  count:  {shape: [1], dtype: int64}
  kinds:  {shape: [2], dtype: int64}
  street: {shape: [1], dtype: int64}
  day:    {shape: [4]}
  when:   {shape: [2]}
  again:  {shape: [1]}
  genres: {shape: [4]}
  moods:  {shape: [3]}
  title:  {shape: [words], dtype: int64}
  code:   {shape: [6], dtype: int64}
  sounds: {shape: [sounds], dtype: int64}
  curve:  {shape: [3]}
nodes:
  ids:     {merge: concatenate, from: [kinds, street]}
  places:  {layer: Embedding, input_dim: 32, output_dim: 3}
  where:   {layer: Flatten}
  words:   {layer: Embedding, from: title, input_dim: $(vocabulary(title)), output_dim: 4, mask_zero: true}
  meaning: {layer: GlobalAveragePooling1D}
  letters: {layer: Embedding, from: code, input_dim: $(vocabulary(code)), output_dim: 3}
  spelled: {layer: Flatten}
  tones:   {layer: Embedding, from: sounds, input_dim: $(vocabulary(sounds)), output_dim: 3, mask_zero: true}
  heard:   {layer: GlobalMaxPooling1D}
  number:  {layer: Rescaling, from: count, scale: 0.1}
  all:
    merge: concatenate
    from: [facts, plain, number, where, day, when, again, genres, moods, meaning, spelled, heard, curve]
  hidden:  {layer: Dense, units: 8, activation: relu}
  kind:    {layer: Dense, units: 3, activation: softmax}
  price:   {layer: Dense, units: 1, from: hidden}
  odds:    {layer: Dense, units: 1, activation: sigmoid, from: hidden}
  tags:    {layer: Dense, units: 3, activation: sigmoid, from: hidden}
outputs:
  kind:  {loss: sparse_categorical_crossentropy}
  price: {loss: mse}
  odds:  {loss: binary_crossentropy}
  tags:  {loss: binary_crossentropy}
data:
  train: rows.jsonl
  key: id
  na_values: ["", "?"]
  features:
    facts:
      columns: [amount, tries, size]
      encode: number
      fill: median
      indicator: true
      transform: {amount: log1p, tries: sqrt, size: quantile}
      scale: standard
      clip: 3
    kinds:  {columns: [region, plan], encode: category, vocabulary: [5, 4], fill: missing}
    street: {encode: hash, bins: 8}
    day:    {encode: date, parts: [year, month_sin, weekday, hour], scale: min_max, fill: mean}
    when:   {encode: date, parts: [timestamp, weekday], format: "%d.%m.%Y %H:%M", scale: robust}
    again:  {column: tries, encode: number}
    genres: {encode: set, vocabulary: 4, separator: ", ", fill: ""}
    moods:  {encode: set, values: [calm, loud, slow]}
    title:  {encode: text, vocabulary: 20}
    code:   {encode: text, tokenizer: char, vocabulary: 24, fill: none}
    sounds: {encode: tokens, vocabulary: 6, length: 5, cut: start}
    kind:   {encode: category}
    price:  {encode: number, unit: EUR, transform: log1p, scale: standard}
    tags:   {encode: set, values: [new, old, red]}
train: {optimizer: {name: adam, learning_rate: 0.02}, epochs: 2, batch_size: 16}
"""
REGIONS, PLANS = ("north", "south", "east", "west", "up", "down"), ("basic", "pro", "free")
WORDS = ("red", "house", "near", "Lake", "old", "Mill", "été", "x2", "sun-lit", "don't")
GENRES = ("drama", "comedy", "war", "noir", "musical")


def row(draw: random.Random) -> dict[str, Any]:
    """A row without a missing value."""
    year, month, day = draw.randint(1969, 2031), draw.randint(1, 12), draw.randint(1, 28)
    clock = f"{draw.randint(0, 23):02}:{draw.randint(0, 59):02}"
    return {
        "id": draw.randint(1, 10**6),
        "amount": round(draw.expovariate(0.01), 2),
        "tries": draw.randint(0, 9),
        "size": draw.choice([1.5, 2.5, 4.0, draw.gauss(3, 1)]),
        "plain_0": draw.gauss(0, 1),
        "plain_1": draw.randint(-3, 3) + 0.5,
        "count": draw.randint(0, 40),
        "region": draw.choice(REGIONS),
        "plan": draw.choice(PLANS),
        "street": f"{draw.choice(WORDS)} {draw.randint(1, 99)}",
        "day": f"{year}-{month:02}-{day:02}" + draw.choice(["", f"T{clock}", f" {clock}:07", f"T{clock}Z"]),
        "when": f"{day:02}.{month:02}.{year} {clock}",
        "genres": ", ".join(draw.sample(GENRES, draw.randint(1, 3))),
        "moods": draw.sample(["calm", "loud", "slow", "odd"], draw.randint(0, 3)),
        "title": " ".join(draw.choices(WORDS, k=draw.randint(1, 6))) + draw.choice(["", "!", " ..."]),
        "code": "".join(draw.choices("abcXYZ09-", k=draw.randint(1, 8))),
        "sounds": draw.choices(["do", "re", "mi", "fa", "so"], k=draw.randint(1, 8)),
        "curve": [draw.gauss(0, 1) for _ in range(3)],
    }


def gaps(found: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The row with some values missing that the spec fills, and with unseen ones."""
    missing = {"amount": None, "size": None, "region": None, "plan": "?", "day": None, "genres": None}
    unseen = {"region": "centre", "plan": "Pro", "genres": "opera", "title": "other words", "sounds": ["la"]}
    for name, value in (*missing.items(), ("code", ""), *unseen.items()):
        if draw.random() < 0.2:
            found[name] = value
    return found


def train(folder: Path, made: Path | None = None) -> Run:
    """A run of the spec on 60 rows of its own, in a folder."""
    shutil.copytree(made or trained(), folder, dirs_exist_ok=True)
    return Run(folder / "run")


@cache
def exported() -> Path:
    """A folder with the run after it has predicted with onnxruntime, once for all that a process tests."""
    folder = Path(tempfile.mkdtemp(prefix="everything-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    train(folder).predict(row(random.Random(0)), engine="onnxruntime")
    return folder


@cache
def trained() -> Path:
    """A folder with the run, which is trained once for all that a process tests."""
    folder = Path(tempfile.mkdtemp(prefix="everything-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    draw, lines = random.Random(0), []
    for _ in range(60):
        found = gaps(row(draw), draw)
        found |= {"kind": draw.choice("abc"), "price": round(draw.expovariate(0.02), 2)}
        found |= {"odds": draw.randint(0, 1), "tags": draw.sample(["new", "old", "red"], draw.randint(0, 2))}
        lines.append(json.dumps(found))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "everything.yaml").write_text(SPEC)
    program = graphspec.compile(folder / "everything.yaml")
    train_program(program, root=folder, run_dir=folder / "run", tell=lambda line: None)
    return folder
