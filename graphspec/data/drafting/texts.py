"""A first spec for a text: how it is cut into tokens, and a GPT of a size that fits, with reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from graphspec.data.drafting.words import flow
from graphspec.data.encoders.exact import Letters
from graphspec.data.folders import Found
from graphspec.data.tables.texts import pieces
from graphspec.diagnostics import fail

LOOKED = 2**26
"""Bytes of text that are looked at, the first ones of all documents together."""
FEW, MANY = 2_000_000, 500
"""Characters, and different ones, up to which each is a token; of more text tokens are merged bytes."""
MARKS = 3
"""Tokens that are no character: padding, what was not seen, and the end of a document."""
END = "<|end|>"
VOCABULARIES = ((10_000_000, 2_000, 3.0), (100_000_000, 8_000, 3.7), (10**12, 16_000, 4.0))
"""Characters up to which a vocabulary of merged bytes is so large, and about how many of them a token has."""
PARAMETERS = 12
"""Weights of a layer, in squares of its width."""
Size = tuple[int, int, int, float]
SIZES: tuple[Size, ...] = (
    (64, 4, 2, 0.004),
    (128, 4, 4, 0.002),
    (192, 6, 6, 0.0015),
    (256, 8, 8, 0.001),
    (384, 6, 6, 0.001),
    (512, 8, 8, 0.0006),
    (768, 12, 12, 0.0004),
)
"""Width, heads, layers and learning rate of a GPT, from small to large."""
ROWS = ((500_000, 64, 16), (5_000_000, 128, 32), (10**12, 256, 64))
"""Up to how many tokens a row has so many of them, and a batch so many rows."""
SEEN = 20
"""Tokens that a training reads for each weight, at most, again and again where a text has fewer."""


GRAPH = """\
inputs:
  tokens: {shape: [length], dtype: int64}

blocks:
  layer:  # each token attends to those before it, then is transformed by itself
    inputs: [x]
    nodes:
      norm1:     {layer: LayerNormalization, epsilon: 1e-5}
      attention:
        layer: MultiHeadAttention
        from: {query: norm1, value: norm1}
        num_heads: $heads
        key_dim: $(width // heads)
        use_causal_mask: true
      drop1:     {layer: Dropout, rate: $rate}
      seen:      {merge: add, from: [x, drop1]}
      norm2:     {layer: LayerNormalization, epsilon: 1e-5}
      expanded:  {layer: Dense, units: $(4 * width), activation: gelu}
      projected: {layer: Dense, units: $width}
      drop2:     {layer: Dropout, rate: $rate}
      out:       {merge: add, from: [seen, drop2]}

shared:  # one table maps tokens to vectors, and vectors to scores of tokens
  embedding: {layer: ReversibleEmbedding, input_dim: $(vocabulary(tokens)), output_dim: $width}

nodes:  # each reads the node above it, unless it has `from`
  words:     {call: embedding, from: tokens}
  positions: {layer: PositionEmbedding, sequence_length: $context}
  sum:       {merge: add, from: [words, positions]}
  drop:      {layer: Dropout, rate: $rate}
  layers:    {block: layer, repeat: $depth}
  norm:      {layer: LayerNormalization, epsilon: 1e-5}
  scores:    {call: embedding, reverse: true}
  next:      {layer: Activation, activation: softmax}

outputs:
  next: {loss: sparse_categorical_crossentropy, metrics: [perplexity]}  # among how many tokens it wavers
"""
"""The network of a first spec."""


@dataclass(frozen=True, slots=True)
class TextLook:
    """The profile of texts: documents, characters (estimated from the first ones), and different ones."""

    documents: int
    characters: int
    distinct: int

    @property
    def letters(self) -> bool:
        """Whether each character is a token."""
        return self.characters <= FEW and self.distinct <= MANY

    @property
    def merged(self) -> tuple[int, float]:
        """The size of a vocabulary of merged bytes, and about how many characters a token has."""
        return next((size, each) for most, size, each in VOCABULARIES if self.characters <= most)

    @property
    def tokens(self) -> int:
        return self.characters if self.letters else int(self.characters / self.merged[1])


def look(source: Found, encoding: str) -> TextLook:
    """Looks at texts. Raises `SpecError`: data-empty, data-format."""
    letters, seen, size = Letters(), 0, 0
    for file in source.files:
        size += file.stat().st_size
        for piece in pieces(file, encoding) if seen < LOOKED else ():
            letters.add(np.zeros(1, np.int64), pa.array([piece.decode()]))
            seen += len(piece)
            if seen >= LOOKED:
                break
    count = int(letters.counts.sum())
    if not count:
        raise fail("data-empty", f"`{source.path}` holds no text")
    characters = count if seen < LOOKED else count * max(1, size) // seen
    return TextLook(len(source.files), characters, int(np.count_nonzero(letters.counts)))


def draft(name: str, path: str, train: str, source: Found, encoding: str, tell: Callable[[str], None]) -> str:
    """The text of a spec that learns what comes next in texts."""
    seen = look(source, encoding)
    size = size_for(seen)
    width, heads, depth, rate = size
    context, batch = next((length, rows) for most, length, rows in ROWS if seen.tokens <= most)
    if seen.tokens < 20 * context * batch:
        tell(f"`{path}` has about {seen.tokens:,} tokens, which is little to learn a language from")
    epochs = max(1, min(15, SEEN * weights(size) // seen.tokens))
    ids, cut = seen.distinct + MARKS, "tokenizer: characters"
    if not seen.letters:
        ids, cut = seen.merged[0], "tokenizer: bpe"
    feature = f"{{column: text, encode: text, {cut}, vocabulary: {ids}, pack: $context, end: {flow(END)}}}"
    tail = "the end of the text" if seen.documents == 1 else "a tenth of the documents"
    joined = "The text is" if seen.documents == 1 else "Texts are joined and"
    return f"""\
# A first spec for {path}, to start from: a GPT that says which token comes next.
# Check it with `graphspec check {name}.yaml`, train it with `graphspec train {name}.yaml`.

# {_why(seen, size)}
params: {{width: {width}, heads: {heads}, depth: {depth}, context: {context}, rate: 0.1}}

{GRAPH}
data:
  train: {train}
  validation: {{split: 0.1}}  # {tail}
  features:
    # {_cut(seen)}
    # {joined} cut into rows of `context` tokens.
    tokens: {feature}
    next:   {{of: tokens, shift: 1}}  # the token after each

train:
  optimizer: {{name: adamw, learning_rate: {rate}, weight_decay: 0.1}}
  schedule: {{name: cosine_decay, warmup_steps: 100, alpha: 0.1}}
  epochs: {epochs}  # at most: it ends where validation gets no better
  batch_size: {batch}
  callbacks:
    early_stopping: {{monitor: val_loss, patience: 3, restore_best_weights: true}}
"""


def size_for(seen: TextLook) -> Size:
    """The largest size whose layers have no more weights than there are tokens."""
    return next((each for each in reversed(SIZES) if weights(each) <= seen.tokens), SIZES[0])


def weights(size: Size) -> int:
    """The weights of the layers of a GPT."""
    width, _, depth, _ = size
    return PARAMETERS * depth * width**2


def _why(seen: TextLook, size: Size) -> str:
    """Why the model is as large as it is."""
    held = f"{seen.documents:,} texts have" if seen.documents > 1 else "The text has"
    count = f"{held} {'' if seen.letters else 'about '}{seen.tokens:,} tokens, and the layers"
    larger = SIZES[SIZES.index(size) + 1 :]
    if weights(size) > seen.tokens:
        return f"{count} {weights(size):,} weights: they learn a longer text as well."
    if not larger:
        return f"{count} {weights(size):,} weights."
    more = f"the {weights(larger[0]):,} of the next size would learn so little by heart"
    return f"{count} {weights(size):,} weights: {more}."


def _cut(seen: TextLook) -> str:
    """Why the text is cut into such tokens."""
    if seen.letters:
        return f"Each of the {seen.distinct} characters is a token: in so little text, most words are rare."
    many = f"{seen.distinct:,} different characters" if seen.characters <= FEW else "a long text"
    return f"In {many}, tokens are frequent pieces of words, about {seen.merged[1]:g} characters long."
