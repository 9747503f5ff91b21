"""Start here: the six stages, and `normalize`, which says which of them a text means.

`normalize` folds the text (`fold` says how) and looks it up in a closed table (`vocabulary`). It never guesses: a text
that is not in the table is `Unknown`, with suggestions that are shown and never applied.
Pure: no Django, no clock, no settings.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from normalization import suggestions, vocabulary

LONGEST = 100
"""Texts with more characters than this are unknown without being looked at."""

MEMO_SIZE = 4096
"""How many answers a table remembers besides those for the usual spellings."""


class Stage(StrEnum):
    """The six stages in their order: `Stage.SEED < Stage.SERIES_A`. Comparing one with anything else is a TypeError."""

    PRE_SEED = "pre-seed"
    SEED = "seed"
    SERIES_A = "series-a"
    SERIES_B = "series-b"
    SERIES_C = "series-c"
    SERIES_C_PLUS = "series-c+"

    @property
    def position(self) -> int:
        """0 for pre-seed to 5 for series-c+."""
        return _POSITION[self]

    def __lt__(self, other: object) -> bool:
        return self.position < _position(other)

    def __le__(self, other: object) -> bool:
        return self.position <= _position(other)

    def __gt__(self, other: object) -> bool:
        return self.position > _position(other)

    def __ge__(self, other: object) -> bool:
        return self.position >= _position(other)


_POSITION = {stage: position for position, stage in enumerate(Stage)}


def _position(other: object) -> int:
    # Falling back to the order of text would put "pre-seed" before "seed" but "series-c+" anywhere.
    if not isinstance(other, Stage):
        raise TypeError(f"a stage is ordered only among stages, not with {type(other).__name__}")
    return _POSITION[other]


@dataclass(frozen=True, slots=True)
class Known:
    """A text that means exactly one stage. `canonical`: it is that stage's name to the letter."""

    raw: str
    stage: Stage
    canonical: bool


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything else, with at most two stages it may have meant, best first."""

    raw: object
    suggestions: tuple[Stage, ...]


class AliasConflict(ValueError):
    """An extra spelling folds onto one that is already taken, or can never be matched. `spelling` is the text."""

    def __init__(self, spelling: str, reason: str) -> None:
        super().__init__(f"{spelling!r} cannot be an alias: {reason}")
        self.spelling = spelling


# White space is what str.isspace() accepts; the others are invisible and say nothing.
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f"
_WHITE_SPACE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_ENDS = _WHITE_SPACE + _ZERO_WIDTH
# Unicode category Pd and the minus sign; full-width and small forms have become one of them through NFKC.
_DASHES = (
    "\u058a\u05be\u1400\u1806\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u2e5d\u301c\u3030\u30a0"
    "\ufe31\ufe32\ufe58\ufe63\uff0d\U00010d6e\U00010ead"
)
_PLAIN = str.maketrans(dict.fromkeys(_ZERO_WIDTH, "") | dict.fromkeys(_DASHES, "-"))
# NFKC would make letters of these: raised letters (footnote marks) and Roman numerals (U+216D is 100, not a C).
_NOT_LETTERS = re.compile(
    "[\u00aa\u00ba\u02b0-\u02b8\u02e0-\u02e4\u1d2c-\u1d6a\u1d78\u1d9b-\u1dbf\u2071\u207f\u2090-\u209c"
    "\u2160-\u217f\u2c7c\u2c7d\ua69c\ua69d\ua770\ua7f2-\ua7f4\ua7f8\ua7f9\uab5c-\uab5f\uab69\U00010780-\U000107ba]"
)


def fold(raw: str) -> str:
    """The key under which a text is looked up. Folding a key again changes nothing.

    Read through, because none of it can carry a meaning: white space and invisible characters round the text, capitals,
    the forms that Unicode itself calls the same letter (NFKC: full-width, circled, mathematical, the long s), invisible
    characters inside, and which dashes, underscores or white space part the words, line breaks included.

    Kept, so that the text stays unknown: a dash or underscore at either end (`series-c-` is a mangled `series-c+` and
    once cost a portfolio 5 %), `+` and the space before it, accents, letters of other alphabets, raised letters and
    Roman numerals (NFKC alone would make `Series` with a footnote mark a series A), direction overrides, control
    characters and every other character that is not named here.
    """
    text = raw.strip(_ENDS)
    if not text.isascii():
        text = _fold_unicode(text)
    spaced = text.casefold().replace("-", " ").replace("_", " ")
    key = " ".join(spaced.split())
    if spaced[:1].isspace():
        key = f"-{key}"
    return f"{key}-" if spaced[-1:].isspace() and key != "-" else key


def _fold_unicode(text: str) -> str:
    text = text.translate(_PLAIN)
    form: Literal["NFC", "NFKC"] = "NFC" if _NOT_LETTERS.search(text) else "NFKC"
    # Twice, for casefolding takes some texts out of the normal form.
    text = unicodedata.normalize(form, unicodedata.normalize(form, text).casefold())
    return text.translate(_PLAIN)


class AliasTable:
    """An immutable set of spellings with the stage that each means; `BUILTIN` is the one without operator's rows."""

    __slots__ = ("_keys", "_seen", "version")

    def __init__(self, keys: Mapping[str, Stage], version: int) -> None:
        self.version = version
        self._keys = dict(keys)
        self._seen: dict[str, Known | Unknown] = {**_COMMON}

    def extended(self, extra: Mapping[str, Stage], version: int) -> "AliasTable":
        """This table and some raw spellings more.

        Raises AliasConflict if one folds onto a spelling that is taken, even for the same stage, or is too long or
        too empty ever to be met.
        """
        keys = dict(self._keys)
        for spelling, stage in extra.items():
            key = fold(spelling)
            if not key or len(spelling) > LONGEST:
                raise AliasConflict(
                    spelling,
                    "it is empty" if not key else f"it is longer than {LONGEST} characters",
                )
            if key in self._keys or keys.get(key, stage) is not stage:
                raise AliasConflict(spelling, f"{key!r} already means {keys[key]}")
            keys[key] = stage
        return AliasTable(keys, version)

    def spellings(self) -> Iterable[tuple[str, Stage]]:
        """Every (folded spelling, stage), canonical names included."""
        return self._keys.items()

    def look_up(self, raw: str) -> Known | Unknown:
        """What a text of at most LONGEST characters means, remembered for the next time."""
        stage = self._stage_of(raw)
        answer: Known | Unknown
        if stage is None:
            answer = Unknown(raw, tuple(map(Stage, suggestions.suggest(fold(raw)))))
        else:
            answer = Known(raw, stage, raw == stage)
        self._remember(answer, raw)
        return answer

    def _remember(self, answer: Known | Unknown, raw: str) -> None:
        # Bounded, and such that a client who sends endless nonsense cannot push out the spellings in use: when the memo
        # is full the unknown go, and the known only if they alone fill half of it. Threads may do the same work twice,
        # no more: each step is one operation on a dict (copy() too), and an answer never changes.
        if len(self._seen) >= len(_COMMON) + MEMO_SIZE:
            known = {
                text: one for text, one in self._seen.copy().items() if isinstance(one, Known)
            }
            self._seen = {**(known if len(known) < len(_COMMON) + MEMO_SIZE // 2 else _COMMON)}
        self._seen[raw] = answer

    def _stage_of(self, raw: str) -> Stage | None:
        # What folds to a usual spelling by its capitals alone need not be folded in full.
        usual = _COMMON.get(raw.strip().casefold())
        return usual.stage if usual else self._keys.get(fold(raw))


_COMMON = {
    raw: Known(raw, Stage(stage), raw == stage)
    for raw, stage in vocabulary.common_spellings().items()
}
BUILTIN = AliasTable(
    {key: Stage(stage) for key, stage in vocabulary.folded_spellings().items()}, version=0
)


def normalize(raw: object, aliases: AliasTable = BUILTIN) -> Known | Unknown:
    """Which stage a value means. Total: any object at all gives an answer, never an exception."""
    if type(raw) is str and len(raw) <= LONGEST:
        return aliases._seen.get(raw) or aliases.look_up(raw)
    # A subclass of str (an enum member, a hostile class) is read as its plain text, by str's own methods.
    # Not isinstance: that would ask the object for its __class__.
    if issubclass(type(raw), str) and str.__len__(raw) <= LONGEST:  # type: ignore[arg-type]
        return aliases.look_up(str.__str__(raw))
    return Unknown(raw, ())


def normalize_all(raws: Sequence[object], aliases: AliasTable = BUILTIN) -> list[Known | Unknown]:
    """`normalize` for each value, in order; fastest for spellings seen before."""
    if set(map(type, raws)) != {str}:
        return [normalize(raw, aliases) for raw in raws]
    seen = map(aliases._seen.get, raws)  # type: ignore[arg-type]
    return [answer or normalize(raw, aliases) for answer, raw in zip(seen, raws, strict=True)]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights by stage: `merged` names the stages that more than one item meant, with those items' texts in order."""

    by_stage: dict[Stage, float]
    unknown: tuple[tuple[Unknown, float], ...]
    merged: tuple[tuple[Stage, tuple[str, ...]], ...]


def normalize_weights(
    weights: Mapping[str, float] | Iterable[tuple[str, float]], aliases: AliasTable = BUILTIN
) -> Weights:
    """Weights whose stages are text → weights by stage, in stage order.

    The weights of one stage are added up, as decimals, and reported in `merged`. Weights are not judged
    here: whether they may be negative, or have to sum to 1, is the caller's business.
    """
    raws: dict[Stage, list[str]] = {}
    given: dict[Stage, list[float]] = {}
    unknown: list[tuple[Unknown, float]] = []
    for raw, weight in weights.items() if isinstance(weights, Mapping) else weights:
        found = normalize(raw, aliases)
        if isinstance(found, Unknown):
            unknown.append((found, weight))
        else:
            given.setdefault(found.stage, []).append(weight)
            raws.setdefault(found.stage, []).append(found.raw)
    named = sorted(given)
    return Weights(
        by_stage={stage: _sum_of(given[stage]) for stage in named},
        unknown=tuple(unknown),
        merged=tuple((stage, tuple(raws[stage])) for stage in named if len(raws[stage]) > 1),
    )


def _sum_of(weights: list[float]) -> float:
    # Decimal: the weights .1 and .2 of one stage are .3, and not the binary 0.30000000000000004.
    if len(weights) == 1 or not all(map(math.isfinite, weights)):
        return sum(weights)
    return float(sum(Decimal(repr(weight)) for weight in weights))
