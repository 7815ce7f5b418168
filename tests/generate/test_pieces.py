"""The text of a sequence as it grows, token by token."""

import random
from collections.abc import Sequence

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from graphspec.generate.texts import Numbers, Pieces, TextCodec, Tokenized

TEXTS = (
    "naïve café — 日本語 and 👩\u200d👩\u200d👧 family",
    " two  spaces, ends in one ",
    "₿",
    "нет, не так; да " * 30,
)


def of_bytes() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return made


def of_fallback() -> Tokenizer:
    """Letters, a mark for spaces, and bytes for all else; a text loses a space at its beginning."""
    words = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {word: index for index, word in enumerate(words)}
    made = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Sequence(steps)
    return made


def of_parts() -> Tokenizer:
    words = ["[UNK]", *(mark + letter for letter in sorted({*"".join(TEXTS)}) for mark in ("", "##"))]
    made = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    return made


MAKERS = {"bytes": of_bytes, "fallback": of_fallback, "parts": of_parts}


@pytest.mark.parametrize("kind", MAKERS)
def test_pieces_are_the_text(kind: str) -> None:
    """With a prompt of any length; no piece but the last has a part of a character."""
    codec, draw = Tokenized(MAKERS[kind](), None, None, None, False), random.Random(0)
    for text in TEXTS:
        ids = codec.ids(text)
        cuts = [cut for cut in range(1, len(ids)) if not codec.text(ids[:cut]).endswith("\ufffd")]
        for cut in draw.sample(cuts, min(8, len(cuts))):
            pieces = Pieces(codec, ids[:cut])
            said = [pieces.add(token) for token in ids[cut:]]
            assert "".join(said) == codec.text(ids)[len(codec.text(ids[:cut])) :]
            assert not any("\ufffd" in piece for piece in said) and pieces.add(None) == ""


def test_half_a_character_is_said_at_the_end() -> None:
    codec = Tokenized(of_bytes(), None, None, None, False)
    pieces = Pieces(codec, codec.ids("a"))
    assert [pieces.add(token) for token in codec.ids("é€")[:4]] == ["", "é", "", ""]
    assert pieces.add(None) == "\ufffd"


class Counting(Numbers):
    """Counts the tokens that it decodes."""

    def __init__(self, codec: TextCodec):
        self.codec, self.decoded = codec, 0

    def text(self, ids: Sequence[int]) -> str:
        self.decoded += len(ids)
        return self.codec.text(ids)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_token_takes_the_same_work_in_any_text(kind: str) -> None:
    codec = Tokenized(MAKERS[kind](), None, None, None, False)
    ids, counting = codec.ids(TEXTS[-1]), Counting(codec)
    pieces = Pieces(counting, ids[:1])
    for token in ids[1:]:
        pieces.add(token)
    assert counting.decoded < 8 * len(ids)
