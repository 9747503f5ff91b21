"""The closed groups of spellings that name a stage, a series, an amount or a maturity. Data.

Each has examples of what joins and what does not; the tests hold each of them.
"""

from collections.abc import Iterable
from typing import Final

from normalization.closed_group import AMOUNT, CHOOSE, NUMBER, OUTSIDE, SpellingGroup
from normalization.decision_warnings import DecisionVerdict
from normalization.stages import Stage
from normalization.wording import (
    DEAL_TYPE_WORDS,
    EXTENSION_WORDS,
    LATER_LETTERS,
    ROUND_WORDS,
    STAGE_LETTERS,
    word_set,
)

_LETTERED = frozenset(
    mention for letter in STAGE_LETTERS for mention in (f"series-{letter}", f"bare {letter}")
)
_ANY_MENTION = _LETTERED.union(
    ("seed", "pre-seed", "series-c+", "pre-series", "open", "no letter"),
    ("numbered", "later", "tranche", "plus", "doubtful"),
)


_SECOND_CLASS = word_set(
    "growth ipo strategic private public grant debt buyout token sale revenue corporate equity"
    " secondary"
)
_MATURITY = word_set(
    "idea or patent prototype mvp early post revenue scaling growth pre ipo angel"
)


# The first two series that have no stage of their own, and so belong to the later rounds.
_LATER, _NEXT_LATER = (letter.upper() for letter in LATER_LETTERS[:2])


def _amount_groups() -> Iterable[SpellingGroup]:
    seed = ("$6M · Seed", "Seed, $30M, 06/2024, Led by Andreessen Horowitz")
    cases: list[tuple[Stage, tuple[str, ...], tuple[str, ...]]] = [
        (Stage.PRE_SEED, ("$2M · Pre-Seed",), ("$2M · Seed",)),
        (Stage.SEED, seed, ("Seed",)),
    ]
    for letter, stage in STAGE_LETTERS.items():
        series = f"Series {letter.upper()}"
        cases.append((stage, _with_an_amount(series), (f"{series}1, $5M", f"{series}+, $80M")))
    for stage, examples, others in cases:
        yield SpellingGroup(
            code=f"amount-{stage}",
            label=f"{stage} with an amount or a date",
            verdict=DecisionVerdict.STAGE,
            stage=stage,
            examples=examples,
            counterexamples=(*others, f"Part of $5M {stage}", f"{stage}, $5M debt"),
            words=ROUND_WORDS,
            forms=AMOUNT,
            needs_forms=AMOUNT,
            mentions=frozenset((stage.value,)),
            least=1,
            most=1,
        )


def _with_an_amount(series: str) -> tuple[str, ...]:
    return (
        f"$50M · {series}",
        f"{series} (More Here)",
        f"{series}, $3B+, 09/2025, Led by General Catalyst",
    )


def _deal_type_groups() -> Iterable[SpellingGroup]:
    for letter, stage in STAGE_LETTERS.items():
        series = f"Series {letter.upper()}"
        yield SpellingGroup(
            code=f"deal-type-{stage}",
            label=f"Deal type ({series})",
            verdict=DecisionVerdict.STAGE,
            stage=stage,
            examples=(f"Early Stage VC ({series})", f"4. Later Stage VC ({series})"),
            counterexamples=(
                f"Later Stage VC ({series}1)",
                "Early Stage VC",
                f"Corporate ({series})",
            ),
            words=DEAL_TYPE_WORDS,
            needs=frozenset(("vc", "venture")),
            forms=NUMBER,
            mentions=frozenset((stage.value,)),
            least=1,
            most=1,
        )


def _bare_letter_groups() -> Iterable[SpellingGroup]:
    for letter in STAGE_LETTERS:
        yield SpellingGroup(
            code=f"bare-letter-{letter}",
            label=f"The letter {letter.upper()} alone",
            verdict=CHOOSE,
            examples=(letter, letter.upper(), f'="{letter.upper()}"', f"round_{letter.upper()}"),
            counterexamples=(f"{letter}+", f"{letter}1", f"{letter}/z", f"{letter} team"),
            mentions=frozenset((f"bare {letter}",)),
            least=1,
            most=1,
        )


STAGE_GROUPS: Final[tuple[SpellingGroup, ...]] = (
    *_deal_type_groups(),
    *_amount_groups(),
    *_bare_letter_groups(),
    SpellingGroup(
        code="maturity-scale",
        label="Steps of a maturity scale",
        verdict=OUTSIDE,
        examples=("3. Early Revenue", "1. Idea or Patent 2. Prototype +1", "5. Growth,6. Pre-IPO"),
        counterexamples=("3. Seed Round", "4. Grant", "3. Early Revenue fund", "Growth"),
        words=_MATURITY,
        needs=word_set("idea prototype revenue scaling growth ipo"),
        forms=frozenset(("number", "more")),
        needs_forms=NUMBER,
    ),
    SpellingGroup(
        code="maturity-words",
        label="Maturity words, with or without stages",
        verdict=OUTSIDE,
        examples=("Pre-seed, Idea, Prototype/MVP, Seed", "Scaling,Series+", "Prototype/MVP,Seed"),
        counterexamples=("Seed, Post Revenue", "Pre-seed", "Idea Labs", "Growth"),
        words=_MATURITY | word_set("and to"),
        needs=word_set("idea prototype mvp scaling"),
        mentions=_ANY_MENTION,
        most=12,
    ),
    SpellingGroup(
        code="several-stages",
        label="Several stages in one text",
        verdict=OUTSIDE,
        examples=(
            "Seed, Series A",
            "Pre-Seed - Series B+",
            "Series A/B",
            "Series B, Growth, Series C+",
        ),
        counterexamples=("Series A", "Seed A", "Seed, Series A (Fund II too)", "Pre-Seed"),
        words=ROUND_WORDS | _SECOND_CLASS | word_set("and to through thru pre post early angel"),
        mentions=_ANY_MENTION,
        least=2,
        most=12,
        is_list=True,
    ),
    SpellingGroup(
        code="stage-and-other",
        label="A stage together with another class",
        verdict=OUTSIDE,
        examples=("Grant, Seed", "Series C+ / Pre-IPO", "Growth, Series C+", "Seed and Strategic"),
        counterexamples=(
            "Strategic Funding (Series C)",
            "Seed, Post Revenue",
            "Growth",
            "Seed grant",
        ),
        words=ROUND_WORDS | _SECOND_CLASS - {"revenue"} | word_set("and pre"),
        needs=_SECOND_CLASS - {"revenue"},
        mentions=_ANY_MENTION,
        least=1,
        most=1,
        is_list=True,
    ),
    SpellingGroup(
        code="later-series",
        label=f"Series {_LATER} or later",
        verdict=CHOOSE,
        examples=(
            f"Series {_LATER}",
            f"series{_NEXT_LATER.lower()}",
            f"{_LATER}轮及以上",
            f"Later Stage VC (Series {_LATER})",
            f"Series {_LATER}-2 Extension",
        ),
        counterexamples=(
            "Series C",
            "Series Seed",
            f"Series {_LATER}, Series {_NEXT_LATER}",
            f"Series {_LATER} from Acme",
        ),
        words=ROUND_WORDS | DEAL_TYPE_WORDS | EXTENSION_WORDS | word_set("on plus or"),
        forms=AMOUNT | NUMBER,
        mentions=frozenset(("later",)),
        least=1,
        most=1,
    ),
    SpellingGroup(
        code="pre-series",
        label="Before a series (Pre-Series A)",
        verdict=OUTSIDE,
        examples=(
            "Pre-Series A",
            "pre-B",
            "Pre-series A1",
            "Pré-Série A",
            "Pre-Series A Bridge round",
        ),
        counterexamples=("Pre-Seed", "Series A", "Pre-IPO", "Pre-Series A, Series A"),
        words=ROUND_WORDS | word_set("bridge"),
        mentions=frozenset(("pre-series",)),
        least=1,
        most=1,
    ),
    SpellingGroup(
        code="tranche",
        label="Numbered tranche of a series",
        verdict=CHOOSE,
        examples=("Series A1", "Series B-1", "4. Later Stage VC (Series A1)"),
        counterexamples=("Series A", f"Series {_LATER}1", "Series 1", "Series A1 for staff"),
        words=ROUND_WORDS | DEAL_TYPE_WORDS,
        forms=NUMBER,
        mentions=frozenset(("tranche",)),
        least=1,
        most=1,
    ),
    SpellingGroup(
        code="plus",
        label="A stage or letter with a plus",
        verdict=CHOOSE,
        examples=("Series A+", "Series B +", "A+轮", "Seed+"),
        counterexamples=(
            "Series C+",
            f"Series {_LATER}+",
            "Series B plus",
            "Series B+ / Strategic",
        ),
        words=ROUND_WORDS,
        mentions=frozenset(("plus",)),
        least=1,
        most=1,
    ),
    SpellingGroup(
        code="extension",
        label="Extension of a round",
        verdict=CHOOSE,
        examples=(
            "Seed extension",
            "Series B (Extension)",
            "Series B Follow-on",
            "extended Series B",
        ),
        counterexamples=(
            "Series B",
            f"Series {_LATER} Extension",
            "Extension of the lease",
            "Bridge",
        ),
        words=ROUND_WORDS | EXTENSION_WORDS | word_set("on"),
        needs=EXTENSION_WORDS,
        mentions=_LETTERED | word_set("seed pre-seed"),
        least=1,
        most=1,
    ),
    SpellingGroup(
        code="numbered",
        label="Rounds or series counted in numbers",
        verdict=OUTSIDE,
        examples=("1st Round", "10th Round", "3rd funding round", "Series 1"),
        counterexamples=("2nd seed funding", "1st Avenue", "Round", "Series A1", "Series 1 of 3"),
        words=ROUND_WORDS,
        forms=frozenset(("ordinal",)),
        needs_forms=frozenset(("ordinal", "numbered")),
        mentions=frozenset(("numbered",)),
        most=1,
    ),
    SpellingGroup(
        code="no-letter",
        label="Series without a letter",
        verdict=OUTSIDE,
        examples=(
            "Series ?",
            "series_unknown",
            "Unknown Series",
            "Venture - Series Unknown",
            "Series",
        ),
        counterexamples=("Series+", "Series A", "Series of notes", "Unknown"),
        words=ROUND_WORDS | word_set("unknown unkwown unspecified venture"),
        mentions=frozenset(("no letter",)),
        least=1,
        most=1,
    ),
    SpellingGroup(
        code="amount-no-stage",
        label="An amount without a stage",
        verdict=OUTSIDE,
        examples=("$200M · Venture", "$300000", "Series, $110B, 02/2026, Led by Amazon"),
        counterexamples=("$6M · Seed", "Venture", "Valuation at $4M", "$5M · Series D"),
        words=ROUND_WORDS | word_set("venture"),
        forms=AMOUNT,
        needs_forms=frozenset(("amount",)),
        mentions=frozenset(("no letter", "plus")),
        most=1,
    ),
    SpellingGroup(
        code="seed-and-angel",
        label="Seed and angel in one name",
        verdict=OUTSIDE,
        examples=("Seed/ Angel Funding", "Angel / Seed Funding", "Seed / Angle Funding"),
        counterexamples=(
            "Seed Funding",
            "Angel Funding",
            "Seed, Angel, Series A",
            "Seed Angel Fund",
        ),
        words=ROUND_WORDS | word_set("angel"),
        needs=word_set("angel"),
        mentions=frozenset(("seed",)),
        least=1,
        most=1,
    ),
)
"""The groups in order: a spelling joins the first that accounts for every word."""
