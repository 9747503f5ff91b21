"""The speed of what advises an operator: the group of a spelling, and the warnings of a
decision.
"""

from normalization.decision_warnings import DecisionVerdict, warnings
from normalization.spelling_groups import group_of
from normalization.stages import Stage, fold
from normalization.suggestions import suggest
from tests.benchmarks.harness import Ratio, compare, hold
from tests.data.classified_spellings import classified_spellings

SPELLINGS = [spelling.raw for spelling in classified_spellings()]


def suggested() -> None:
    """The baseline: what `normalize` does once for every spelling that it does not know."""
    for raw in SPELLINGS:
        suggest(fold(raw))


def test_the_group_of_a_spelling() -> None:
    def subject() -> None:
        for raw in SPELLINGS:
            group_of(raw)

    both = compare(subject, suggested, rounds=11)
    note = f"{both.subject_ns / len(SPELLINGS) / 1000:.0f} us a spelling"
    hold(Ratio("group_of / fold + suggest", 15, both.ratio, note=note))


def test_the_warnings_of_a_decision() -> None:
    def subject() -> None:
        for raw in SPELLINGS:
            warnings(raw, DecisionVerdict.STAGE, Stage.SERIES_A)

    both = compare(subject, suggested, rounds=11)
    note = f"{both.subject_ns / len(SPELLINGS) / 1000:.0f} us a spelling"
    hold(Ratio("warnings / fold + suggest", 30, both.ratio, note=note))
