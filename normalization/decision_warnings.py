"""What speaks against a decision about a spelling, before it is saved.

`warnings` compares the verdict with what the text itself names (`wording`) and with its
suggestion. A hard warning needs the operator's confirmation for that very spelling; a soft one
is only shown. A warning never changes what a text means.

The rules hold against a table of 1,104 public spellings that were classified by hand: no right
decision gets a hard warning, and nearly every wrong one gets one
(`tests/normalization/test_decision_warnings.py` has the counts). What a decision would do to
stored rows and requests is not judged here: that needs the database, and its command warns of
it. Pure: no Django, no clock, no settings.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from normalization.stages import Stage, fold
from normalization.suggestions import suggest
from normalization.wording import EXTENSION_WORDS, Mention, Wording, parse, word_set

OUTSIDE_WORDS: Final = word_set(
    """
    debt loan loans credit convertible note notes safe mezzanine lending grant grants
    assistance accelerator incubator angel angels crowdfunding crowd crowdsale ico ieo ido ifo
    saft token tokens coin dao presale sale otc ipo pipe public listed spac offering acquired
    acquisition merger buyout lbo secondary secondaries secondarymarket strategic corporate
    private equity growth expansion bootstrapped unfunded undisclosed unknown prototype mvp
    revenue scaling idea patent
    """
)
"""Words for money, events and classes that are not one of the six stages."""

_ONE_OFF_FORMS = frozenset(("amount", "date", "name", "link"))


class DecisionVerdict(StrEnum):
    """What an operator decides about a spelling.

    `choose` stands only in packs: the operator has to decide, so it is never applied.
    """

    STAGE = "stage"
    OUTSIDE = "outside"
    OPEN = "open"
    CHOOSE = "choose"


@dataclass(frozen=True, slots=True)
class DecisionWarning:
    """One reason to look again. `hard`: the decision needs a confirmation for this spelling."""

    code: str
    hard: bool
    sentence: str


def warnings(
    spelling: str, verdict: DecisionVerdict, stage: Stage | None = None
) -> tuple[DecisionWarning, ...]:
    """Return what speaks against this decision, hard warnings first; empty when nothing does.

    `stage` belongs to the verdict `stage` and is None with every other. A spelling that is
    left open, or that the operator has yet to choose, gets no warning.
    """
    text = _SpellingText(spelling)
    if verdict is DecisionVerdict.OUTSIDE:
        found = [make(text) for make in _AGAINST_OUTSIDE]
    elif verdict is DecisionVerdict.STAGE and stage is not None:
        found = [make(text, stage) for make in _AGAINST_STAGE]
    else:
        return ()
    return tuple(sorted(filter(None, found), key=lambda warning: not warning.hard))


def resembled_stage(spelling: str) -> Stage | None:
    """Return the stage that a text names without its other words, or probably meant."""
    text = _SpellingText(spelling)
    return text.only_stage or next(iter(text.suggestions), None)


class _SpellingText:
    """A spelling, what it names and what it probably meant."""

    def __init__(self, spelling: str) -> None:
        self.spelling = spelling

    @cached_property
    def wording(self) -> Wording:
        return parse(self.spelling)

    @cached_property
    def key(self) -> str:
        return fold(self.spelling)

    @cached_property
    def suggestions(self) -> tuple[Stage, ...]:
        return tuple(map(Stage, suggest(self.key)))

    @cached_property
    def letters(self) -> frozenset[str]:
        """The letters of the series that the text names."""
        return frozenset(mention.name for mention in self.mentions if mention.is_letter)

    @property
    def is_short(self) -> bool:
        """Whether a share class, a grade or a size could be written the same way."""
        return len(self.key) <= 2 and self.key.isascii()

    @property
    def mentions(self) -> tuple[Mention, ...]:
        return self.wording.mentions

    @cached_property
    def only_stage(self) -> Stage | None:
        """The stage that is left without round words, deal type, amount and brackets."""
        if len(self.mentions) == 1 and not self.wording.left and not self._has_other_numbers:
            return self.mentions[0].stage
        return None

    @property
    def _has_other_numbers(self) -> bool:
        return bool(self.wording.forms & {"ordinal", "more"})

    def names(self, *mentions: str) -> bool:
        """Whether the text names all of these and nothing else."""
        return {mention.name for mention in self.mentions} == set(mentions)


def _letter(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    named_by_letter = stage.value.startswith("series-")
    expected = stage.value.removeprefix("series-")[:1] if named_by_letter else ""
    if not text.letters or text.letters == {expected}:
        return None
    named = _listing(f"Series {letter.upper()}" for letter in sorted(text.letters))
    if stage is Stage.SERIES_C_PLUS and all(mention.is_later for mention in text.mentions):
        return _soft(
            "letter", f"The text says {named}. Choose series-c+ only if it means C or later here."
        )
    return _hard("letter", f"The text says {named}. You chose {stage}.")


def _several(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    named = {(mention.name, mention.before, mention.after) for mention in text.mentions}
    if len(named) < 2:
        return None
    return _hard("several", f"The text names {len(named)} stages. You chose {stage} alone.")


def _pre(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    says_pre = "pre" in text.wording.words or any(
        mention.before or mention.name == "pre-seed" for mention in text.mentions
    )
    if stage is Stage.PRE_SEED:
        if says_pre or stage in text.suggestions:
            return None
        return _hard("pre", "The text does not say pre-seed.")
    if not says_pre or stage in text.suggestions:
        return None
    return _hard("pre", f"The text says “pre” before a stage. You chose {stage}.")


def _other_stage(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    for name in ("seed", "pre-seed"):
        if text.names(name) and stage.value != name:
            return _hard("other_stage", f"The text names only {name}. You chose {stage}.")
    return None


def _tranche_or_plus(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    if any(mention.after.isdecimal() for mention in text.mentions):
        return _hard("tranche_or_plus", "The text names a tranche of a series, not the series.")
    if any(_is_open_ended(mention) for mention in text.mentions):
        return _hard(
            "tranche_or_plus", "The plus may mean an extension of the round, or later rounds."
        )
    if EXTENSION_WORDS & set(text.wording.words):
        return _hard(
            "tranche_or_plus", "The text names an extension or a round between two stages."
        )
    return None


def _is_open_ended(mention: Mention) -> bool:
    # Series C with a word for the plus is the business of `_lost_plus`.
    word = mention.after in ("plus", "later") and mention.name != "c"
    return mention.stage is None and (mention.after == "+" or word)


def _lost_plus(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    if stage not in (Stage.SERIES_C, Stage.SERIES_C_PLUS):
        return None
    afters = {mention.after for mention in text.mentions if mention.name == "c"}
    if text.key == "seriesc" or afters & {"?", "plus", "later"}:
        return _hard("lost_plus", "The text may mean Series C, or Series C and later.")
    if afters and ("+" in afters) != (stage is Stage.SERIES_C_PLUS):
        return _hard("lost_plus", f"Series C and series-c+ differ by the plus. You chose {stage}.")
    return None


def _against_suggestion(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    if not text.suggestions or stage in text.suggestions:
        return None
    return _hard("against_suggestion", _suggested(text, f"You chose {stage}."))


def _outside_word(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    words = [word for word in text.wording.words if word in OUTSIDE_WORDS]
    if not words:
        return None
    return _hard("outside_word", f"“{words[0]}” is not the name of one of the six stages.")


def _names_no_stage(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    named = any(mention.name.isalpha() or mention.name == "pre-seed" for mention in text.mentions)
    if named or text.suggestions:
        return None
    return _hard(
        "names_no_stage", f"The text names neither a stage nor a series. You chose {stage}."
    )


def _says_more(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    if stage in text.suggestions or not text.mentions:
        return None
    if left := sorted(text.wording.left):
        return _hard("says_more", f"The text says more than a stage: {_listing(left[:3])}.")
    if text._has_other_numbers:
        return _hard("says_more", "The text says more than a stage: it counts something.")
    return None


def _short(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    if not text.is_short:
        return None
    return _hard("short", "So short a text may mean something else in another source.")


def _suggestion_against_outside(text: _SpellingText) -> DecisionWarning | None:
    if not text.suggestions:
        return None
    return _hard("against_suggestion", _suggested(text, "You chose outside."))


def _reads_as_stage(text: _SpellingText) -> DecisionWarning | None:
    if text.only_stage is None or text.suggestions or text.is_short:
        return None
    return _hard("reads_as_stage", f"Without its other words the text is {text.only_stage}.")


def _one_off(text: _SpellingText) -> DecisionWarning | None:
    if not text.wording.forms & _ONE_OFF_FORMS:
        return None
    return _soft(
        "one_off", "An amount, a date or a name makes this spelling one that will not recur."
    )


def _one_off_stage(text: _SpellingText, stage: Stage) -> DecisionWarning | None:
    return _one_off(text)


_AGAINST_STAGE: Final[tuple[Callable[[_SpellingText, Stage], DecisionWarning | None], ...]] = (
    _letter,
    _several,
    _pre,
    _other_stage,
    _tranche_or_plus,
    _lost_plus,
    _against_suggestion,
    _outside_word,
    _names_no_stage,
    _says_more,
    _short,
    _one_off_stage,
)
_AGAINST_OUTSIDE: Final[tuple[Callable[[_SpellingText], DecisionWarning | None], ...]] = (
    _suggestion_against_outside,
    _reads_as_stage,
    _one_off,
)


def _hard(code: str, sentence: str) -> DecisionWarning:
    return DecisionWarning(code, True, sentence)


def _soft(code: str, sentence: str) -> DecisionWarning:
    return DecisionWarning(code, False, sentence)


def _suggested(text: _SpellingText, choice: str) -> str:
    return f"The text looks like {' or '.join(text.suggestions)}. {choice}"


def _listing(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
