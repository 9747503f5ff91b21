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
from typing import Final

from normalization.closed_group import SpellingGroup
from normalization.outside_groups import OUTSIDE_GROUPS
from normalization.stage_groups import STAGE_GROUPS
from normalization.wording import Mention, parse

GROUPS: Final[tuple[SpellingGroup, ...]] = STAGE_GROUPS + OUTSIDE_GROUPS
"""The groups in order: a spelling joins the first that accounts for every word."""


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


_LIST: Final = re.compile(r"[,/&+–]| - |\b(?:and|to|through|thru)\b", re.IGNORECASE)
