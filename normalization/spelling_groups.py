"""Closed groups: spellings that an operator can decide together.

A group is a list of words and forms. A spelling joins it only if the list accounts for every
word of the spelling, so `Early Stage VC` joins the venture group and `Early Stage VC for
climate` joins none. That loses some spellings, and it never merges two that differ by a word
which nobody looked at: fuzzy clusters do (research: 651,653 rows).

A group only gathers. Its verdict is written for each listed spelling, and `normalize` never
uses this module. Every group carries examples of what joins and what does not; the tests hold
each of them. Pure: no Django, no clock, no settings.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from normalization.decision_warnings import DecisionVerdict
from normalization.stages import Stage
from normalization.wording import (
    DEAL_TYPE_WORDS,
    EXTENSION_WORDS,
    ROUND_WORDS,
    STAGE_LETTERS,
    Mention,
    parse,
    word_set,
)

OUTSIDE: Final = DecisionVerdict.OUTSIDE
CHOOSE: Final = DecisionVerdict.CHOOSE


@dataclass(frozen=True, slots=True)
class SpellingGroup:
    """A closed list of words and forms, and what a spelling must have to join.

    `verdict` is what its members usually are, shown and never applied; `choose` where that is
    a house's own policy. `words`, `forms` and `mentions` (kinds of stage or series, between
    `least` and `most` of them) are all that a member may hold. It must hold one of `needs`,
    and one form or mention of `needs_forms`, where these are given. `is_list`: it also needs a
    comma, a slash, “and” or another sign of a list.
    """

    code: str
    label: str
    verdict: DecisionVerdict
    examples: tuple[str, ...]
    counterexamples: tuple[str, ...]
    stage: Stage | None = None
    words: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    forms: frozenset[str] = frozenset()
    needs_forms: frozenset[str] = frozenset()
    mentions: frozenset[str] = frozenset()
    least: int = 0
    most: int = 0
    is_list: bool = False

    def accounts_for(
        self, words: frozenset[str], forms: frozenset[str], mentions: frozenset[str], count: int
    ) -> bool:
        """Whether every word, form and mention is listed, and one that is needed is there."""
        return (
            words <= self.words
            and self.least <= count <= self.most
            and forms <= self.forms
            and mentions <= self.mentions
            and (not self.needs or not self.needs.isdisjoint(words))
            and (not self.needs_forms or not self.needs_forms.isdisjoint(forms | mentions))
        )


def group_of(spelling: str) -> SpellingGroup | None:
    """The group that accounts for every word of a spelling, None where no group does."""
    wording = parse(spelling)
    words = frozenset(wording.words)
    distinct = frozenset(wording.mentions)
    kinds = frozenset(map(mention_kind, distinct))
    for group in GROUPS:
        if not group.accounts_for(words, wording.forms, kinds, len(distinct)):
            continue
        if not group.is_list or _LIST.search(spelling):
            return group
    return None


def mention_kind(mention: Mention) -> str:
    """The kind of a mention, as the lists of groups name it."""
    if mention.before:
        return "pre-series"
    if not mention.name:
        return "open" if mention.after == "+" else "no letter"
    if mention.name.isdecimal():
        return "numbered"
    if mention.is_later:
        return "later"
    if mention.after.isdecimal():
        return "tranche"
    if mention.stage is None:
        return "plus" if mention.after == "+" else "doubtful"
    return mention.stage if mention.series or not mention.is_letter else f"bare {mention.name}"


_LIST = re.compile(r"[,/&+–]| - |\b(?:and|to|through|thru)\b", re.IGNORECASE)
_NUMBER = frozenset(("number",))
_AMOUNT = frozenset(("amount", "date", "name", "link"))
_LETTERED = frozenset(("series-a", "series-b", "series-c", "bare a", "bare b", "bare c"))
_ANY_MENTION = _LETTERED.union(
    ("seed", "pre-seed", "series-c+", "pre-series", "open", "no letter"),
    ("numbered", "later", "tranche", "plus", "doubtful"),
)


_SECOND_CLASS = word_set(
    "growth ipo strategic private public grant debt buyout token sale revenue corporate equity"
    " secondary"
)
_PUBLIC = word_set(
    "ipo pipe public offering listed spac acquired acquisition acqui merger lbo buyout secondary"
    " spin carve"
)
_MATURITY = word_set(
    "idea or patent prototype mvp early post revenue scaling growth pre ipo angel"
)


def _amount_groups() -> Iterable[SpellingGroup]:
    for stage, (examples, other) in {
        Stage.PRE_SEED: (("$2M · Pre-Seed",), "$2M · Seed"),
        Stage.SEED: (("$6M · Seed", "Seed, $30M, 06/2024, Led by Andreessen Horowitz"), "Seed"),
        Stage.SERIES_A: (("Series A, $100M+, 11/2024, Led by IDG Capital",), "Series A+, $80M"),
        Stage.SERIES_B: (("$50M · Series B", "Series B (More Here)"), "Series B1, $5M"),
        Stage.SERIES_C: (("Series C, $3B+, 09/2025, Led by General Catalyst",), "Series D, $1B"),
    }.items():
        yield SpellingGroup(
            code=f"amount-{stage}",
            label=f"{stage} with an amount or a date",
            verdict=DecisionVerdict.STAGE,
            stage=stage,
            examples=examples,
            counterexamples=(other, f"Part of $5M {stage}", f"{stage}, $5M debt"),
            words=ROUND_WORDS,
            forms=_AMOUNT,
            needs_forms=_AMOUNT,
            mentions=frozenset((stage.value,)),
            least=1,
            most=1,
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
            forms=_NUMBER,
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
            counterexamples=(f"{letter}+", f"{letter}1", f"{letter}/d", f"{letter} team"),
            mentions=frozenset((f"bare {letter}",)),
            least=1,
            most=1,
        )


GROUPS: Final[tuple[SpellingGroup, ...]] = (
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
        needs_forms=_NUMBER,
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
        label="Series D or later",
        verdict=CHOOSE,
        examples=(
            "Series D",
            "seriese",
            "D轮及以上",
            "Later Stage VC (Series D)",
            "Series D-2 Extension",
        ),
        counterexamples=("Series C", "Series Seed", "Series D, Series E", "Series D from Acme"),
        words=ROUND_WORDS | DEAL_TYPE_WORDS | EXTENSION_WORDS | word_set("on plus or"),
        forms=_AMOUNT | _NUMBER,
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
        label="Numbered tranche of series A to C",
        verdict=CHOOSE,
        examples=("Series A1", "Series B-1", "4. Later Stage VC (Series A1)"),
        counterexamples=("Series A", "Series D1", "Series 1", "Series A1 for staff"),
        words=ROUND_WORDS | DEAL_TYPE_WORDS,
        forms=_NUMBER,
        mentions=frozenset(("tranche",)),
        least=1,
        most=1,
    ),
    SpellingGroup(
        code="plus",
        label="A stage or letter with a plus",
        verdict=CHOOSE,
        examples=("Series A+", "Series B +", "A+轮", "Seed+"),
        counterexamples=("Series C+", "Series D+", "Series B plus", "Series B+ / Strategic"),
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
        counterexamples=("Series B", "Series D Extension", "Extension of the lease", "Bridge"),
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
        forms=_AMOUNT,
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
    SpellingGroup(
        code="venture",
        label="Venture, no series named",
        verdict=OUTSIDE,
        examples=(
            "Early Stage VC",
            "venture",
            "Venture (Round not Specified)",
            "late_stage_venture",
        ),
        counterexamples=(
            "Early Stage",
            "Venture debt",
            "Early Stage VC (Series A)",
            "Venture studio",
        ),
        words=ROUND_WORDS | DEAL_TYPE_WORDS | word_set("single not specified unspecified"),
        needs=word_set("vc venture"),
        forms=_NUMBER,
    ),
    SpellingGroup(
        code="stage-word",
        label="Early or late stage, no series named",
        verdict=OUTSIDE,
        examples=("Late Stage", "LATE_STAGE", "early stage"),
        counterexamples=("Late Seed", "Early", "Late stage climate", "Late Stage VC"),
        words=word_set("early late later stage round"),
        needs=word_set("stage"),
    ),
    SpellingGroup(
        code="grant",
        label="Grant or accelerator",
        verdict=OUTSIDE,
        examples=("Grant", "Accelerator/Incubator", "non_equity_assistance", "4. Grant"),
        counterexamples=("Grant, Seed", "Equity", "Grant Thornton", "thru Accelerator"),
        words=ROUND_WORDS
        | word_set("grant grants accelerator incubator assistance non equity program"),
        needs=word_set("grant grants accelerator incubator assistance"),
        forms=_NUMBER,
    ),
    SpellingGroup(
        code="public",
        label="Public, M&A or secondary",
        verdict=OUTSIDE,
        examples=(
            "PIPE",
            "Post-IPO Debt",
            "M&A",
            "SecondaryMarket",
            "11. Merger/Acquisition",
            "pre-IPO",
        ),
        counterexamples=("Public token sale", "Series C+ / Pre-IPO", "Market", "Private"),
        words=ROUND_WORDS
        | _PUBLIC
        | word_set("hire off out initial post pre market transaction")
        | word_set("equity debt private"),
        needs=_PUBLIC,
        forms=_NUMBER,
    ),
    SpellingGroup(
        code="debt",
        label="Debt or convertible",
        verdict=OUTSIDE,
        examples=("Debt Financing", "convertible_note", "Term Loan", "7. Debt - General", "Safe"),
        counterexamples=("Growth, Debt", "Debt for Series A", "Note", "Post-IPO Debt"),
        words=ROUND_WORDS
        | word_set("debt loan convertible mezzanine credit lending safe note notes issuance")
        | word_set("general structured term venture line of or capital refinancing"),
        needs=word_set("debt loan convertible mezzanine credit lending safe"),
        forms=_NUMBER,
    ),
    SpellingGroup(
        code="crowdfunding",
        label="Crowdfunding",
        verdict=OUTSIDE,
        examples=("Equity Crowdfunding", "Crowd funding", "ProductCrowdFunding", "crowd"),
        counterexamples=("Crowd control", "Equity", "Seed crowdfunding", "Product"),
        words=ROUND_WORDS | word_set("crowdfunding crowd crowdsale equity product"),
        needs=word_set("crowdfunding crowd crowdsale"),
    ),
    SpellingGroup(
        code="token",
        label="Token sale",
        verdict=OUTSIDE,
        examples=(
            "ICO",
            "Private token sale",
            "initial_coin_offering",
            "DAO round",
            "Token Pre-Sale",
        ),
        counterexamples=("Seed, Token", "Tokenized real estate", "Initial", "Private"),
        words=ROUND_WORDS
        | word_set("token tokens ico ieo ido ifo saft dao presale coin sale private public")
        | word_set("pre initial offering strategic equity"),
        needs=word_set("token tokens ico ieo ido ifo saft dao presale coin sale"),
    ),
    SpellingGroup(
        code="private-equity",
        label="Private equity or growth",
        verdict=OUTSIDE,
        examples=(
            "Private Equity",
            "PE",
            "Growth capital",
            "6. PE Growth/Expansion",
            "GROWTH_STAGE",
        ),
        counterexamples=("Growth, Debt", "Growth hacking", "Capital", "5. Growth"),
        words=ROUND_WORDS
        | word_set("private equity pe growth expansion capital mature placement"),
        needs=word_set("private equity pe growth expansion"),
        forms=_NUMBER,
    ),
    SpellingGroup(
        code="strategic",
        label="Strategic or corporate",
        verdict=OUTSIDE,
        examples=(
            "Strategic Investment",
            "corporate_round",
            "10. Corporate",
            "minority investment",
        ),
        counterexamples=(
            "Strategic Funding (Series C)",
            "Corporate law",
            "Investment",
            "Seed and Strategic",
        ),
        words=ROUND_WORDS | word_set("strategic corporate minority any"),
        needs=word_set("strategic corporate minority"),
        forms=_NUMBER,
    ),
    SpellingGroup(
        code="bridge",
        label="Bridge or follow-on",
        verdict=OUTSIDE,
        examples=("Bridge Round", "Follow-on", "bridge funding", "additional funding round"),
        counterexamples=("Series B Follow-on", "Bridge Street", "On", "Follow the money"),
        words=ROUND_WORDS | word_set("bridge follow followon interim additional on"),
        needs=word_set("bridge follow followon interim additional"),
    ),
    SpellingGroup(
        code="angel",
        label="Angel",
        verdict=OUTSIDE,
        examples=("Angel", "Angel (individual)", "Super angel round", "天使轮"),
        counterexamples=("Seed/Angel Funding", "Los Angeles", "Angel Capital Fund", "Individual"),
        words=ROUND_WORDS | word_set("angel angels individual super investor investors"),
        needs=word_set("angel angels"),
    ),
    SpellingGroup(
        code="missing",
        label="No information",
        verdict=OUTSIDE,
        examples=("", "-", "N/A", "NULL", "Undisclosed", "other", "NOT_APPLICABLE"),
        counterexamples=("Unknown Series", "Other Funding", "None of these", "New"),
        words=word_set(
            "na null nan none unknown undisclosed unattributed unspecified other not applicable"
            " disclosed available specified"
        ),
    ),
)
"""The groups in order: a spelling joins the first that accounts for every word."""
