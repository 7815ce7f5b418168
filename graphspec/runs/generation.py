"""Continues prompts by the model of a run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphspec.data.encoders.tokenizers import of_file
from graphspec.diagnostics import fail
from graphspec.generate.batch import NextToken
from graphspec.generate.choosing import chosen, source_of
from graphspec.generate.generating import Maker
from graphspec.generate.texts import Pieces, TextCodec, texts_of
from graphspec.runs.spec_files import SpecFiles

if TYPE_CHECKING:
    from torch import nn

    from graphspec.data.encoders import Encoders
    from graphspec.program import Program
    from graphspec.runs.directory import RunFiles

TOKENIZER = "tokenizer.json"
"""The file next to a spec with its tokenizer, as `graphspec import huggingface` copies it; where another
model has it, after the name of the spec and a dot.
"""


def need_prompts(prompts: Any) -> None:
    """Raises `SpecError` (wrong-type) for what is neither texts nor rows."""
    each = [prompts] if isinstance(prompts, str | Mapping) else prompts or ()
    rows = all(isinstance(one, Mapping) and all(isinstance(key, str) for key in one) for one in each)
    if not rows and not all(isinstance(one, str) and "\0" not in one for one in each):
        raise fail("wrong-type", "`prompts` is a text, a list of texts, or rows", 'write "Once upon a time"')


def texts_in(prompts: Any) -> str | list[str]:
    """A text, or several. Raises `SpecError` (wrong-type) for rows, and for nothing."""
    if prompts is None or isinstance(prompts, Mapping) or not all(isinstance(one, str) for one in prompts):
        raise fail("wrong-type", "the model goes on with texts", 'write "Once upon a time"')
    return prompts if isinstance(prompts, str) else [*prompts]


def maker(
    program: Program,
    files: RunFiles | SpecFiles,
    load: Callable[[], nn.Module],
    encoders: Encoders | None,
    given: Mapping[str, Any],
) -> Maker:
    """Makes texts with the trained module that `load` returns; `given` are settings in the place of those of
    the spec. Raises `SpecError`.
    """
    name, settings = chosen(program, given)
    source, tokenizer = source_of(program, name), _beside(files)
    prompts = None if source is None else texts_of(encoders, source, tokenizer)
    texts = texts_of(encoders, name, tokenizer)
    return Maker(program, load, texts, name, settings, prompt_texts=prompts)


def _beside(files: RunFiles | SpecFiles) -> Any:
    """The tokenizer next to a spec; None of a run, and where there is none."""
    if not isinstance(files, SpecFiles):
        return None
    places = (files.spec.with_name(name) for name in (f"{files.spec.stem}.{TOKENIZER}", TOKENIZER))
    file = next((place for place in places if place.is_file()), None)
    return None if file is None else of_file(file)


def codec(program: Program, files: RunFiles | SpecFiles, encoders: Encoders | None) -> TextCodec:
    """The codec of the input that `generate` continues."""
    return texts_of(encoders, chosen(program, {})[0], _beside(files))


def pieces(made: Maker, prompt: str) -> Iterator[str]:
    """The text that follows a prompt, token by token."""
    return (piece for _, piece in said(made, made.ids([prompt]), [0]) if piece)


def continuations(made: Maker, prompts: Sequence[str], batch_size: int) -> Iterator[str]:
    """The text that follows each prompt."""
    ids = deque(enumerate(made.ids(prompts)))

    def texts() -> Iterator[str]:
        while ids:
            batch = [ids.popleft() for _ in range(min(batch_size, len(ids)))]
            found = dict.fromkeys((number for number, _ in batch), "")
            for token, piece in said(made, [each for _, each in batch], [*found]):
                found[token.sequence] += piece
            yield from found.values()

    return texts()


def said(
    made: Maker, prompts: Sequence[Sequence[int]], numbers: Sequence[int]
) -> Iterator[tuple[NextToken, str]]:
    """The tokens of sequences as they are made, and what each adds to its text; that of an end is nothing."""
    texts = {
        number: Pieces(made.texts, made.begun or ids) for number, ids in zip(numbers, prompts, strict=True)
    }
    for token in made.make(prompts, numbers):
        pieces = texts[token.sequence]
        piece = "" if token.ended == "end" else pieces.add(token.token)
        yield token, piece + (pieces.add(None) if token.ended is not None else "")
