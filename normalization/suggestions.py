"""What an unknown spelling probably meant: at most two stages, shown to people and never applied.

A suggestion corrects the writing of a stage; it does not interpret. `Seires A`, `Sèries A` or a
Cyrillic `А` get one. `Series A+`, `Series A1`, `Seed extension`, `Pre-Series A`, `Series D` and
`Seed, Series A` are written as they were meant, and mean something that is not one of the six
stages; they get none. So do texts that only may mean a stage, except the few in
`vocabulary.PROBABLE`. The rules, each there because a plain nearest match breaks it:

1. No edit touches the series letter: the text must be nearer to `series a` than to the same with
   any other letter.
2. Letters standing alone (`d`, or that of `seriesd`), digits and `+` are part of a meaning: there
   must be no other.
3. One edit, or two in long spellings if they are in two different words. Two stages equally near:
   none.
4. `seed` is too short to lose its first letter: `need funding` is not about a seed round.
5. What ends a `series c` and is no letter may be what is left of `series c+`: both are shown.

Distances are optimal string alignment (a swap of neighbours is one edit): within two edits it says
the same as the unrestricted Damerau-Levenshtein distance, and rapidfuzz computes it with bit
operations. Only built-in spellings are compared with: the operator's are arbitrary texts, for
which these rules were not made.
"""

import re
import unicodedata

from rapidfuzz import process
from rapidfuzz.distance import OSA

from normalization import vocabulary

LONGEST = 40
"""Longer folded texts are remarks, not mistyped stages (the longest spelling has 25
characters).
"""

TWO_EDITS_FROM = 12
"""From this length on a spelling may have two mistakes."""

_SPELLINGS: dict[str, tuple[str, ...]] = {
    key: (stage,) for key, stage in vocabulary.folded_spellings().items()
}
_SPELLINGS["seriesc"] = vocabulary.PROBABLE["seriesc"]
_BY_LENGTH = {
    length: tuple(
        key
        for key in _SPELLINGS
        if abs(len(key) - length) <= (2 if length >= TWO_EDITS_FROM else 1)
    )
    for length in range(LONGEST + 1)
}
"""Length of a text → the spellings that may be near enough."""
_READABLE = _SPELLINGS | vocabulary.PROBABLE

# Cyrillic, Greek, Armenian and phonetic letters that look like a letter of our spellings, after
# casefolding.
LOOK_ALIKES = str.maketrans(
    # Cyrillic
    "\u0430\u0432\u044c\u0441\u0501\u0435\u0456\u0457\u043e\u0440\u0455\u0433\u0442\u043f\u0443"
    # Greek
    "\u03b1\u03b2\u03b5\u03b9\u03bf\u03c1\u03c4\u03c5\u03b7\u03bd"
    # Armenian
    "\u0578\u057d\u0581\u0585"
    # Phonetic, small capitals
    "\u0251\u0299\u1d04\u1d05\u1d07\u0261\u0131\u0274\u1d0f\u1d18\u0280\ua731\u1d1b\u1d1c",
    "abbcdeiiopsrtnuabeioptunnnugoabcdeginoprstu",
)
_CUT_OFF = ".."
_WRITTEN_OUT = re.compile(
    r"\\+[nrt]|[.:\s]+"
)  # a literal backslash-n of an export; `Series.A`, `Series: A`
_EDGES = re.compile(r"""\A[ "'(\[*#=\u2022\u00b7-]+|[ "')\],;*#=?\ufffd\u2022\u00b7-]+\Z""")
_ALONE = re.compile(r"([a-z])\+?")
_ATTACHED = re.compile(r"series?([a-rt-z]{1,2})\+?")  # `seriesd`, `seried`, `seriesab`
_LOST_PLUS = re.compile(r"series ?c[-=?\ufffd]\Z")
_PLUS = re.compile(r" (?:\+|plus\b)")
_PLAIN = re.compile(r"[a-z +]+")


def suggest(key: str) -> tuple[str, ...]:
    """The stages' values, best first, for a folded text that is not in the table; empty when none
    is likely.
    """
    if len(key) > LONGEST:
        return ()
    if _LOST_PLUS.match(key):
        return ("series-c+", "series-c")
    text = _plain(key)
    return _READABLE.get(text) or _nearest(text)


def _plain(key: str) -> str:
    """The text without accents, look-alikes, export artefacts and punctuation round it; "" if more
    than a-z is left.
    """
    text = key
    if not key.isascii():
        decomposed = unicodedata.normalize("NFKD", key).casefold()
        text = "".join(
            char for char in decomposed if unicodedata.category(char) not in ("Mn", "Cf")
        )
        text = text.translate(LOOK_ALIKES)
    if _CUT_OFF in text:
        return ""
    text = _PLUS.sub("+", _EDGES.sub("", _WRITTEN_OUT.sub(" ", text)))
    return text if _PLAIN.fullmatch(text) else ""


def _nearest(text: str) -> tuple[str, ...]:
    """The stages of the one nearest spelling, by the rules above."""
    if len(text) < 3:
        return ()
    limit = 2 if len(text) >= TWO_EDITS_FROM else 1
    near = process.extract(
        text, _BY_LENGTH.get(len(text), ()), scorer=OSA.distance, score_cutoff=limit, limit=None
    )
    if not near:
        return ()
    _, least, _ = near[0]
    nearest = [key for key, distance, _ in near if distance == least]
    answers = [_SPELLINGS[key] for key in nearest]
    if len({answer[0] for answer in answers}) > 1 or not all(
        _is_misspelling(text, key, least) for key in nearest
    ):
        return ()
    if any(
        _another_letter_is_as_near(text, *series, least)
        for series in set(map(_series, nearest))
        if series[0]
    ):
        return ()
    return min(answers, key=len)


def _is_misspelling(text: str, key: str, distance: int) -> bool:
    """Whether the text is `key` mistyped, and not something else that happens to be as near."""
    if text.count("+") != key.count("+") or not _lone_letters(text) <= {_series(key)[0]}:
        return False
    if key.startswith("seed") and "s" not in text[:2]:
        return False
    return distance == 1 or _in_different_words(text, key)


def _lone_letters(text: str) -> set[str]:
    """The letters that may name a series: those that stand alone, and those that are attached to
    the word.
    """
    found = (_ALONE.fullmatch(word) or _ATTACHED.fullmatch(word) for word in text.split())
    return {letter for match in found if match for letter in match[1]}


def _series(key: str) -> tuple[str, str]:
    """The series letter of a spelling in the table and what follows it; empty for the other
    stages.
    """
    letter_and_rest = key.removeprefix("series").lstrip() if key.startswith("series") else ""
    return letter_and_rest[:1], letter_and_rest[1:]


def _another_letter_is_as_near(text: str, letter: str, rest: str, distance: int) -> bool:
    """Whether `series b …` explains the text as well as `series a …` does, b being any letter,
    none, or `aa`.
    """
    # Only a letter of the text can explain it any better than no letter at all, here `?`.
    rivals = {*text, "?", letter * 2} - {letter, " ", "+"}
    spellings = [f"series{glue}{rival}{rest}" for rival in rivals for glue in (" ", "")]
    return bool(
        process.extract(text, spellings, scorer=OSA.distance, score_cutoff=distance, limit=1)
    )


def _in_different_words(text: str, key: str) -> bool:
    """Whether a distance of two comes from one edit in each of two words, of a spelling long
    enough for two.
    """
    words, expected = text.split(), key.split()
    if len(key) < TWO_EDITS_FROM or len(words) != len(expected):
        return False
    return all(OSA.distance(word, other) <= 1 for word, other in zip(words, expected, strict=True))
