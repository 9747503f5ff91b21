"""What a spelling names, word by word: stages, series letters, amounts, and every word beside
them.

Two readers share this parser. `decision_warnings` compares an operator's verdict with what the
text names; `spelling_groups` gathers spellings of which it can account for every word. Both
only advise a person: `normalize` never uses this module, so a word list here cannot make a
text mean a stage. Pure: no Django, no clock, no settings.
"""

import re
import unicodedata
from string import ascii_lowercase
from typing import NamedTuple

from normalization.stages import Stage
from normalization.suggestions import LOOK_ALIKES

_SERIES_OF_A_LETTER = re.compile("series-[a-z]")
STAGE_LETTERS = {
    stage.value.removeprefix("series-"): stage
    for stage in Stage
    if _SERIES_OF_A_LETTER.fullmatch(stage.value)
}
"""The series letters that have a stage of their own; the later ones have none."""

LATER_LETTERS = tuple(letter for letter in ascii_lowercase if letter not in STAGE_LETTERS)
"""The other letters in order, the first being the first series without a stage of its own."""


def word_set(text: str) -> frozenset[str]:
    """Return the words of a list that is written as one text."""
    return frozenset(text.split())


ROUND_WORDS = word_set(
    "round rounds rnd funding financing fundraising stage investment investments raise"
)
"""Words that add nothing to the name of a stage."""

DEAL_TYPE_WORDS = word_set("early late later stage vc venture capital")
"""PitchBook's deal type before the series in brackets: `Later Stage VC (Series B)`."""

EXTENSION_WORDS = word_set(
    "extension extensions extended ext follow followon interim tranche bridge closing"
)
"""Words for a part of a round or for money between two rounds."""

_FOREIGN = {
    "シリーズ": "series",
    "プレ": "pre",
    "シード": "seed",
    "アーリー": "early",
    "ミドル": "mid",
    "レイター": "late",
    "以降": "or later",
    "その他": "other",
    "未分類": "other",
    "輪": "round",
    "轮": "round",
    "种子": "seed",
    "種子": "seed",
    "天使": "angel",
    "及以上": "or later",
    "及以后": "or later",
    "战略": "strategic",
    "投资": "investment",
    "融资": "funding",
    "上市": "ipo",
    "收购": "acquired",
    "并购": "merger",
    "시리즈": "series",
    "프리": "pre",
    "시드": "seed",
    "브릿지": "bridge",
    "그로스": "growth",
    "추정": "estimated",
    "비공개": "undisclosed",
}
"""Words of other scripts, which are written without spaces, and their English equivalent."""

_LATIN = {
    "semilla": "seed",
    "semente": "seed",
    "presemilla": "preseed",
    "presemente": "preseed",
    "serie": "series",
    "anjo": "angel",
    "angle": "angel",
    "providentiel": "angel",
    "croissance": "growth",
    "crecimiento": "growth",
    "mna": "merger",
    "runde": "round",
    "ronda": "round",
    "finanzierung": "funding",
    "finanzierungsrunde": "round",
}
"""Words of other languages and frequent slips, without accents, and their English equivalent."""


_FOREIGN_WORD = re.compile("|".join(sorted(_FOREIGN, key=len, reverse=True)))
_LATIN_WORD = re.compile(rf"\b(?:{'|'.join(_LATIN)})\b")
_CAMEL_CASE = re.compile(r"(?:[A-Z]+[a-z]*){2,}[0-9]?")
_CAMEL_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WRITTEN_OUT = re.compile(r"\\+[nrt]")  # a literal backslash-n of an export
_LETTER_WORDS = re.compile(r"\b(?P<merger>m ?(?:&|and|n) ?a)\b|\bn ?/? ?a\b")
"""Words that are written as single letters: M&A and n/a."""
_SEED = ("seed", "pre-seed")

# A series is written in four ways; the order of the alternatives decides which of them a text is.
_PART = re.compile(
    r"""
    (?P<before>\bpre[\s-]*)?
      \b(?P<series>series|serie(?!s)|ser(?=[.\ ]))[\s.:-]*(?P<inner>pre[\s-]*)?
      (?P<in_series>seed|[a-z]|[0-9])?(?P<tranche>-?[0-9]{1,2})?\b     # Pre-Series A1
  | \b(?P<pre_seed>pre[\s-]*)?(?P<seed>seed)\b
  | \bpre[\s-]*(?P<pre_letter>[a-z])(?P<pre_tranche>-?[0-9]{1,2})?\b   # pre-A
  | \bround[\s-](?P<round_letter>[a-z])\b                              # round_A
  | \b(?P<letter_round>[a-z])(?=\+?[\s-]+(?:round|rnd)\b)              # A round
  | (?P<name>\bled\ by\ (?:(?!\b(?:pre|series?|seed|debt|bridge|extension)).)*\Z)
  | (?P<amount>[$€£¥₹]\ ?[0-9][0-9.,]*\ ?(?:(?:[kmb]n?|million|billion|crore|lakh)\b)?\+?
             | \b[0-9][0-9.,]*\ ?(?:[kmb]n?|million|billion|crore|lakh)\b\+?)
  | (?P<date>\b[0-9]{1,2}/[0-9]{4}\b | \b(?:19|20)[0-9]{2}(?:-[0-9]{2}){0,2}\b)
  | (?P<link>\(\ ?(?:more|check)\b[^)]*\b(?:here|details)\ ?\))
  | (?P<ordinal>\b[0-9]+(?:st|nd|rd|th)\b)
  | (?P<number>\b[0-9]{1,2}[.)](?=\s))
  | (?P<more>\+[0-9]+)
  | \b(?P<letter>[a-z])(?P<letter_tranche>-?[0-9]{1,2})?\b
  | (?P<word>[^\W_]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_FORMS = ("name", "amount", "date", "link", "ordinal", "number", "more")
_AFTER = re.compile(
    r"""
    \ ?(?P<plus>\++)(?![0-9])
  | \ (?P<plus_word>plus)\b
  | \ (?:or|and|&)\ (?P<later>later|above|beyond|onwards?|up)\b
  | \ ?(?P<doubt>[?=\ufffd]) | (?P<cut>-)\Z
    """,
    re.VERBOSE,
)
_BARE = re.compile(r"(?:\W|\b(?:and|to|through|thru|or)\b|\b[a-z](?:-?[0-9]{1,2})?\b)*")
"""A text of single letters and connecting words: every letter is a series."""


class Mention(NamedTuple):
    """One stage or series that a text names.

    `name` is `seed`, `pre-seed`, a series letter, the digits of a numbered series, or empty
    for "series" alone. `before`: the text puts it before that series ("Pre-Series A"). `after`
    is what follows the name and changes it: `+`, `plus`, `later`, `?`, or the number of a
    tranche. `series`: the word series stands with it.
    """

    name: str
    before: bool = False
    after: str = ""
    series: bool = False

    @property
    def is_letter(self) -> bool:
        """Whether this is a lettered series."""
        return len(self.name) == 1 and self.name.isalpha()

    @property
    def is_later(self) -> bool:
        """Whether this is series D or later, which has no stage of its own."""
        return self.is_letter and self.name not in STAGE_LETTERS

    @property
    def stage(self) -> Stage | None:
        """The stage that is named, None where the six have no such stage."""
        if self.name in _SEED and not self.after:
            return Stage(self.name)
        if self.before or self.name not in STAGE_LETTERS:
            return None
        if self.after == "+" and self.name == "c" and self.series:
            return Stage.SERIES_C_PLUS
        return None if self.after else STAGE_LETTERS[self.name]


class Wording(NamedTuple):
    """A text taken apart: what it names, its other words in English, and which forms it has.

    `forms` holds the names of the number-like parts: amount, date, name, link, ordinal,
    number, more.
    """

    mentions: tuple[Mention, ...]
    words: tuple[str, ...]
    forms: frozenset[str]

    @property
    def left(self) -> frozenset[str]:
        """The words that add a meaning: neither round words nor PitchBook's deal types."""
        words = frozenset(self.words) - ROUND_WORDS
        return words - DEAL_TYPE_WORDS if words & {"vc", "venture"} else words


def parse(spelling: str) -> Wording:
    """Take a text apart. Total: any text gives an answer, in time linear in its length."""
    text = _plain(spelling)
    mentions: list[Mention] = []
    words: list[str] = []
    forms: set[str] = set()
    letters_are_series = _BARE.fullmatch(text) is not None
    place = 0
    while part := _PART.search(text, place):
        place = part.end()
        form = part.lastgroup or ""
        if form in _FORMS:
            forms.add(form)
            continue
        mention = _mention(part, letters_are_series or bool(mentions))
        if mention is None:
            words.append(part[0])
            continue
        after = _AFTER.match(text, place)
        place = after.end() if after else place
        mentions.append(_qualified(mention, after))
    return Wording(tuple(mentions), tuple(words), frozenset(forms))


def _plain(spelling: str) -> str:
    """The text in lower case, without accents and look-alikes, its words apart and in English."""
    text = _WRITTEN_OUT.sub(" ", spelling.strip()).replace("_", " ")
    if _CAMEL_CASE.fullmatch(text):
        text = _CAMEL_BORDER.sub(" ", text)
    if not text.isascii():
        text = _without_accents(text)
    return _LETTER_WORDS.sub(_in_full, _LATIN_WORD.sub(_in_english, text.casefold()))


def _without_accents(text: str) -> str:
    # Words of other scripts first: without its accents, katakana is another word.
    composed = unicodedata.normalize("NFKC", text)
    english = _FOREIGN_WORD.sub(lambda found: f" {_FOREIGN[found[0]]} ", composed)
    decomposed = unicodedata.normalize("NFKD", english).casefold()
    kept = (char for char in decomposed if unicodedata.category(char) not in ("Mn", "Cf"))
    return "".join(kept).translate(LOOK_ALIKES)


def _in_english(found: re.Match[str]) -> str:
    return _LATIN[found[0]]


def _in_full(found: re.Match[str]) -> str:
    return "merger" if found["merger"] else "na"


def _mention(part: re.Match[str], letters_are_series: bool) -> Mention | None:
    """The stage or series that a part names, None if it is a word."""
    if part["seed"]:
        return Mention("pre-seed" if part["pre_seed"] else "seed")
    if part["series"]:
        return _series(part)
    if letter := part["pre_letter"]:
        return Mention(letter, before=True, after=_number(part["pre_tranche"]))
    if letter := part["round_letter"] or part["letter_round"]:
        return Mention(letter)
    if part["letter"] and letters_are_series:
        return Mention(part["letter"], after=_number(part["letter_tranche"]))
    return None


def _series(part: re.Match[str]) -> Mention:
    before = bool(part["before"] or part["inner"])
    name = part["in_series"] or ""
    if name == "seed":
        return Mention("pre-seed" if before else "seed")
    return Mention(name, before, _number(part["tranche"]), series=True)


def _number(tranche: str | None) -> str:
    return (tranche or "").lstrip("-")


def _qualified(mention: Mention, after: re.Match[str] | None) -> Mention:
    """The mention with what follows it, where that changes it."""
    if after is None or mention.after:
        return mention
    if after["plus"] == "+":
        return mention._replace(after="+")
    named = {"plus_word": "plus", "later": "later"}
    return mention._replace(after=named.get(after.lastgroup or "", "?"))
