"""A closed group: the words and forms that account for a spelling. Pure.

`spelling_groups` has all groups and finds the one of a spelling. Their lists are data, in
`stage_groups` and `outside_groups`.
"""

from dataclasses import dataclass
from typing import Final

from normalization.decision_warnings import DecisionVerdict
from normalization.stages import Stage

OUTSIDE: Final = DecisionVerdict.OUTSIDE
CHOOSE: Final = DecisionVerdict.CHOOSE
NUMBER: Final = frozenset(("number",))
AMOUNT: Final = frozenset(("amount", "date", "name", "link"))


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
