"""The closed groups of spellings that name no series: other classes of money, or nothing. Data.

Each has examples of what joins and what does not; the tests hold each of them.
"""

from typing import Final

from normalization.closed_group import NUMBER, OUTSIDE, SpellingGroup
from normalization.wording import DEAL_TYPE_WORDS, ROUND_WORDS, word_set

_PUBLIC = word_set(
    "ipo pipe public offering listed spac acquired acquisition acqui merger lbo buyout secondary"
    " spin carve"
)

OUTSIDE_GROUPS: Final[tuple[SpellingGroup, ...]] = (
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
        forms=NUMBER,
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
        forms=NUMBER,
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
        forms=NUMBER,
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
        forms=NUMBER,
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
        forms=NUMBER,
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
        forms=NUMBER,
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
