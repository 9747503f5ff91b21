"""Start here: the six stages, and `normalize`, which finds the stage that a text means.

`normalize` folds the text (see `fold`) and looks the result up in a closed table: the built-in
spellings of `vocabulary` and the operator's decisions. It never guesses. A text that is not in
the table is `Unknown`, with suggestions that are shown and never applied.

This module is pure: it uses no Django, clock or settings.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, KeysView, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec

from normalization import suggestions, vocabulary

LONGEST = 255
"""The most characters of a stage: the length of a `StageField`. Longer texts are unknown."""

MEMO_SIZE = 4096
"""How many answers a table remembers, besides the usual spellings and its decisions."""


class Stage(StrEnum):
    """The six stages, ordered: `Stage.SEED < Stage.SERIES_A`.

    Comparing a stage with anything that is not a `Stage` raises TypeError.
    """

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
_NAME = {stage: stage.value for stage in Stage}  # an enum's own `value` is a slow property


def _position(other: object) -> int:
    # The order of text is not the order of stages.
    if not isinstance(other, Stage):
        raise TypeError(f"a stage is ordered only among stages, not with {type(other).__name__}")
    return _POSITION[other]


# The results are msgspec's: a frozen dataclass takes five times as long to create, which was more
# than half of the time for a new spelling. Values without cycles need no garbage collector.
class Known(msgspec.Struct, frozen=True, gc=False):
    """A text that means exactly one stage. `canonical`: the text is that stage's name."""

    raw: str
    stage: Stage
    canonical: bool


class Outside(msgspec.Struct, frozen=True, gc=False):
    """A text that the operator decided to be none of the six stages.

    `kind` groups such texts (for example `debt`). `note` is public: clients read it.
    """

    raw: str
    kind: str
    note: str


class Unknown(msgspec.Struct, frozen=True):
    """Any other value, with at most two stages it may have meant, best first."""

    raw: object
    suggestions: tuple[Stage, ...]


Meaning: TypeAlias = Known | Outside | Unknown


def stage_name(meaning: Meaning) -> str | None:
    """Return what a derived column holds: the stage's name, or None without a stage."""
    return _NAME[meaning.stage] if isinstance(meaning, Known) else None


@dataclass(frozen=True, slots=True)
class OutsideEntry:
    """What a table holds for a spelling that is outside the six stages."""

    kind: str = ""
    note: str = ""


class SpellingConflict(ValueError):
    """An extra spelling cannot join a table. `spelling` is its text."""

    def __init__(self, spelling: str, reason: str) -> None:
        super().__init__(f"{spelling[:100]!r} cannot be decided: {reason}")
        self.spelling = spelling


# White space is what str.isspace() accepts. The zero-width characters carry no meaning.
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f"
WHITE_SPACE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
ENDS = WHITE_SPACE + _ZERO_WIDTH
# Unicode category Pd and the minus sign. NFKC has mapped full-width and small forms to these.
_DASHES = (
    "\u058a\u05be\u1400\u1806\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2e17\u2e1a\u2e3a\u2e3b"
    "\u2e40\u2e5d\u301c\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d\U00010d6e\U00010ead"
)
PLAIN = str.maketrans(dict.fromkeys(_ZERO_WIDTH, "") | dict.fromkeys(_DASHES, "-"))
# NFKC would turn these into letters: raised letters (footnote marks) and Roman numerals
# (U+216D is the number 100, not a C).
NOT_LETTERS = re.compile(
    "[\u00aa\u00ba\u02b0-\u02b8\u02e0-\u02e4\u1d2c-\u1d6a\u1d78\u1d9b-\u1dbf\u2071\u207f"
    "\u2090-\u209c\u2160-\u217f\u2c7c\u2c7d\ua69c\ua69d\ua770\ua7f2-\ua7f4\ua7f8\ua7f9"
    "\uab5c-\uab5f\uab69\U00010780-\U000107ba]"
)


def fold(raw: str) -> str:
    """Return the key under which a text is looked up. Folding a key again changes nothing.

    Ignored, because none of it carries meaning: white space and invisible characters around the
    text, capitals, forms that Unicode treats as the same letter (NFKC: full-width, circled,
    mathematical, the long s), invisible characters inside, and which dashes, underscores or white
    space separate the words, line breaks included.

    Kept, so that the text stays unknown: a dash or underscore at either end (`series-c-` is a
    mangled `series-c+` and once cost a portfolio 5 %), `+` and the space before it, accents,
    letters of other alphabets, raised letters and Roman numerals (NFKC alone would turn `Series`
    with a footnote mark into a series A), direction overrides, control characters, and every
    other character that is not named here.
    """
    text = raw.strip(ENDS)
    if not text.isascii():
        text = _fold_unicode(text)
    spaced = text.casefold().replace("-", " ").replace("_", " ")
    key = " ".join(spaced.split())
    if spaced[:1].isspace():
        key = f"-{key}"
    return f"{key}-" if spaced[-1:].isspace() and key != "-" else key


def _fold_unicode(text: str) -> str:
    text = text.translate(PLAIN)
    form: Literal["NFC", "NFKC"] = "NFC" if NOT_LETTERS.search(text) else "NFKC"
    # Normalize twice: casefolding takes some texts out of the normal form.
    text = unicodedata.normalize(form, unicodedata.normalize(form, text).casefold())
    return text.translate(PLAIN)


Entry: TypeAlias = Stage | OutsideEntry
_BUILTIN_SIZE = len(vocabulary.folded_spellings())


def _name(entry: Entry) -> str:
    return entry.value if isinstance(entry, Stage) else "outside"


class SpellingTable:
    """An immutable set of spellings, each with its stage or its entry outside the stages.

    `BUILTIN` is the table without decisions. `version` is the version of the decisions.
    """

    __slots__ = ("_entries", "_most_seen", "_seen", "version")

    def __init__(self, entries: Mapping[str, Entry], version: int) -> None:
        self.version = version
        self._entries = dict(entries)
        # Decided spellings in use must all fit, or the memo would be emptied again and again.
        memo_size = MEMO_SIZE + 2 * max(0, len(self._entries) - _BUILTIN_SIZE)
        self._most_seen = len(_COMMON) + memo_size
        self._seen: dict[str, Meaning] = {**_COMMON}

    def extended(self, extra: Mapping[str, Entry], version: int) -> "SpellingTable":
        """Return a table with this table's spellings and more raw spellings.

        Raises SpellingConflict if one folds onto a spelling that is taken, even with the same
        meaning, or is too long to be looked up.
        """
        entries: dict[str, Entry] = {}
        for spelling, entry in extra.items():
            key = fold(spelling)
            if len(spelling) > LONGEST:
                raise SpellingConflict(spelling, f"it is longer than {LONGEST} characters")
            taken = self._entries.get(key) or entries.get(key, entry)
            if key in self._entries or taken != entry:
                raise SpellingConflict(spelling, f"{key!r} already means {_name(taken)}")
            entries[key] = entry
        return self.with_keys(entries, version)

    def with_keys(self, extra: Mapping[str, Entry], version: int) -> "SpellingTable":
        """Return a table with more spellings, folded already; this table's own meanings win.

        Folding is most of the work of `extended`: 10,000 stored keys join in a few milliseconds.
        """
        return SpellingTable({**extra, **self._entries}, version)

    def keys(self) -> KeysView[str]:
        """Return every folded spelling."""
        return self._entries.keys()

    def holds(self, key: str) -> bool:
        """Return whether a folded spelling is in the table."""
        return key in self._entries

    def spellings(self) -> Iterable[tuple[str, Stage]]:
        """Yield every (folded spelling, stage), canonical names included."""
        return ((key, each) for key, each in self._entries.items() if isinstance(each, Stage))

    def outside(self) -> Iterable[tuple[str, OutsideEntry]]:
        """Yield every (folded spelling, entry) that is outside the stages."""
        return (
            (key, each) for key, each in self._entries.items() if isinstance(each, OutsideEntry)
        )

    def look_up(self, raw: str) -> Meaning:
        """Return what a new text of at most LONGEST characters means, and remember the answer.

        A canonical name is never new: the memo holds all of them from the start.
        """
        # A usual spelling in other capitals need not be folded in full.
        usual = _USUAL.get(raw.strip().casefold())
        answer = Known(raw, usual, False) if usual is not None else self._folded_meaning(raw)
        seen = self._seen
        if len(seen) >= self._most_seen:
            seen = self._smaller_memo()
        seen[raw] = answer
        return answer

    def _folded_meaning(self, raw: str) -> Meaning:
        entry = self._entry_of(raw)
        if entry is None:
            return Unknown(raw, tuple(map(Stage, suggestions.suggest(fold(raw)))))
        if isinstance(entry, Stage):
            return Known(raw, entry, False)
        return Outside(raw, entry.kind, entry.note)

    def _entry_of(self, raw: str) -> Entry | None:
        return self._entries.get(fold(raw))

    def _smaller_memo(self) -> dict[str, Meaning]:
        # The memo is bounded, and a client that sends endless nonsense cannot push out the
        # spellings in use: when the memo is full, unknown texts go, and decided ones only if they
        # alone fill half of it. Threads may at worst do the same work twice: each step is one
        # operation on a dict (copy() too), and an answer never changes.
        decided = {
            text: one for text, one in self._seen.copy().items() if type(one) is not Unknown
        }
        few = len(decided) < (len(_COMMON) + self._most_seen) // 2
        self._seen = decided if few else {**_COMMON}
        return self._seen


_COMMON = {
    raw: Known(raw, Stage(stage), raw == stage)
    for raw, stage in vocabulary.common_spellings().items()
}
# The same without capitals and padding. All are ASCII, where casefolding equals folding.
_USUAL = {raw.strip().casefold(): known.stage for raw, known in _COMMON.items()}
BUILTIN = SpellingTable(
    {key: Stage(stage) for key, stage in vocabulary.folded_spellings().items()}, version=0
)


def normalize(raw: object, table: SpellingTable = BUILTIN) -> Meaning:
    """Return what a value means. Total: any object gives an answer, never an exception."""
    if type(raw) is str and len(raw) <= LONGEST:
        return table._seen.get(raw) or table.look_up(raw)
    # A subclass of str (an enum member, a hostile class) is read as its plain text, by str's own
    # methods. Not isinstance: that would ask the object for its __class__.
    if issubclass(type(raw), str) and str.__len__(raw) <= LONGEST:  # type: ignore[arg-type]
        return normalize(str.__str__(raw), table)
    return Unknown(raw, ())


def normalize_all(raws: Sequence[object], table: SpellingTable = BUILTIN) -> list[Meaning]:
    """Return `normalize` of each value, in order; fastest for spellings seen before."""
    if set(map(type, raws)) != {str}:
        return [normalize(raw, table) for raw in raws]
    seen = list(map(table._seen.get, raws))  # type: ignore[arg-type]
    if all(seen):
        return seen  # type: ignore[return-value]
    return [answer or normalize(raw, table) for answer, raw in zip(seen, raws, strict=True)]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights by stage, in stage order.

    `merged` names the stages that more than one item meant, with those items' texts in order.
    `unknown` and `outside` are the items without a stage.
    """

    by_stage: dict[Stage, float]
    unknown: tuple[tuple[Unknown, float], ...]
    merged: tuple[tuple[Stage, tuple[str, ...]], ...]
    outside: tuple[tuple[Outside, float], ...] = ()


def normalize_weights(
    weights: Mapping[str, float] | Iterable[tuple[str, float]], table: SpellingTable = BUILTIN
) -> Weights:
    """Return weights by stage for weights whose stages are text.

    The weights of one stage are added up, as decimals, and reported in `merged`. Weights are not
    judged here: the caller decides whether they may be negative, or must sum to 1.
    """
    raws: dict[Stage, list[str]] = {}
    given: dict[Stage, list[float]] = {}
    unknown: list[tuple[Unknown, float]] = []
    outside: list[tuple[Outside, float]] = []
    for raw, weight in weights.items() if isinstance(weights, Mapping) else weights:
        found = normalize(raw, table)
        if isinstance(found, Unknown):
            unknown.append((found, weight))
        elif isinstance(found, Outside):
            outside.append((found, weight))
        else:
            given.setdefault(found.stage, []).append(weight)
            raws.setdefault(found.stage, []).append(found.raw)
    named = sorted(given)
    return Weights(
        by_stage={stage: _sum_of(given[stage]) for stage in named},
        unknown=tuple(unknown),
        merged=tuple((stage, tuple(raws[stage])) for stage in named if len(raws[stage]) > 1),
        outside=tuple(outside),
    )


def _sum_of(weights: list[float]) -> float:
    # Decimal: the weights .1 and .2 of one stage are .3, and not the binary 0.30000000000000004.
    if len(weights) == 1 or not all(map(math.isfinite, weights)):
        return sum(weights)
    return float(sum(Decimal(repr(weight)) for weight in weights))
