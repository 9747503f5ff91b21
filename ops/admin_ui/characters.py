"""Stored text for a page: invisible characters are named by code point, long text is cut."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 80
NAMED_LETTERS: Final = 6

# White space at either end, and runs of several spaces.
_BLANK = re.compile(r"\A +| +\Z| {2,}")
# Unicode calls these letters and marks, but they render as nothing.
_BLANK_LETTERS: Final = frozenset(
    [
        0x034F,
        0x115F,
        0x1160,
        0x17B4,
        0x17B5,
        0x2800,
        0x3164,
        0xFFA0,
        *range(0x180B, 0x1810),
        *range(0xFE00, 0xFE10),
    ]
)
_WORDS: Final = {"\n": "new line", "\r": "return", "\t": "tab"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text, or (`hidden`) the name of one invisible character."""

    text: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Visible:
    """A text in `pieces`; `cut` characters are left out, `letters` are not ASCII."""

    pieces: list[Piece]
    cut: int
    letters: list[str]


def visible(raw: str) -> Visible:
    """Return `raw` so that two values that differ look different."""
    shown = raw[:LONGEST]
    blanks = {place for found in _BLANK.finditer(shown) for place in range(*found.span())}
    pieces: list[Piece] = []
    for place, character in enumerate(shown):
        if place in blanks:
            pieces.append(Piece("space", hidden=True))
        elif _unseen(character):
            pieces.append(Piece(_WORDS.get(character, _code_point(character)), hidden=True))
        elif pieces and not pieces[-1].hidden:
            pieces[-1] = Piece(pieces[-1].text + character)
        else:
            pieces.append(Piece(character))
    letters = dict.fromkeys(
        _code_point(each) for each in shown if not each.isascii() and not _unseen(each)
    )
    return Visible(pieces, len(raw) - len(shown), list(letters)[:NAMED_LETTERS])


def _unseen(character: str) -> bool:
    code = ord(character)
    return not character.isprintable() or code in _BLANK_LETTERS or 0xE0100 <= code <= 0xE01EF


def _code_point(character: str) -> str:
    return f"U+{ord(character):04X}"
