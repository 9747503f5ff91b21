"""Client text as a person can read it: what cannot be seen is named, and nothing is longer than a line. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import groupby
from typing import Final

LONGEST: Final = 60
# Without a glyph of their own: controls, formats, surrogates, private, unassigned, separators, marks on nothing.
_UNSEEN: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}


@dataclass(frozen=True, slots=True)
class Part:
    """A run of text. `named`: it stands for what cannot be seen."""

    text: str
    named: bool = False


def visible(raw: str, longest: int = LONGEST) -> list[Part]:
    """Return `raw` in parts, cut to `longest` characters.

    A single space between two visible characters stays; any other is shown as ␣, other invisible characters by code.
    """
    kept = raw[:longest]
    shown = [_shown(kept, place) for place in range(len(kept))]
    parts = [Part("".join(text for text, _ in run), named) for named, run in groupby(shown, lambda each: each[1])]
    return [*parts, Part("…", named=True)] if len(raw) > longest else parts


def _shown(text: str, place: int) -> tuple[str, bool]:
    character = text[place]
    if character == " ":
        inside = 0 < place < len(text) - 1 and text[place - 1] != " " and text[place + 1] != " "
        return (" ", False) if inside else ("␣", True)
    if unicodedata.category(character) in _UNSEEN:
        return f"U+{ord(character):04X}", True
    return character, False
