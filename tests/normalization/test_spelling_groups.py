"""A group takes only spellings of which it lists every word, and a few settle most rows."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalization.closed_group import SpellingGroup
from normalization.decision_warnings import DecisionVerdict, warnings
from normalization.spelling_groups import GROUPS, group_of
from normalization.stages import fold
from tests.data.classified_spellings import Classified, classified_spellings

SHARES = (0.5, 0.8, 0.9, 0.95, 0.99, 0.995, 1.0)


def by_group() -> dict[str, list[Classified]]:
    """The classified spellings by their group, those without one by their folded key."""
    members: dict[str, list[Classified]] = defaultdict(list)
    for spelling in classified_spellings():
        group = group_of(spelling.raw)
        members[group.code if group else f"key {fold(spelling.raw)}"].append(spelling)
    return members


def actions(rows_by_group: list[int]) -> list[int]:
    """How many groups, the heaviest first, hold each of the shares of all rows."""
    total, settled, needed = sum(rows_by_group), 0, []
    shares = list(SHARES)
    for number, rows in enumerate(sorted(rows_by_group, reverse=True), start=1):
        settled += rows
        while shares and settled >= shares[0] * total:
            needed.append(number)
            shares.pop(0)
    return needed


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.code)
def test_a_group_takes_its_examples_and_none_of_its_counterexamples(group: SpellingGroup) -> None:
    assert len(group.examples) > 0
    assert len(group.counterexamples) > 0
    for example in group.examples:
        found = group_of(example)
        assert found is group, f"{example!r} is in {found and found.code}"
    for example in group.counterexamples:
        assert group_of(example) is not group, example


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.code)
def test_one_more_word_keeps_a_spelling_out_of_its_group(group: SpellingGroup) -> None:
    for example in group.examples:
        assert group_of(f"zebra {example}") is not group, example
        # The name of an investor runs to the end of the text and may hold any word but a stage.
        word = "Series B" if "Led by" in example else "zebra"
        assert group_of(f"{example} {word}") is not group, example


def test_group_codes_are_unique() -> None:
    assert len({group.code for group in GROUPS}) == len(GROUPS)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.code)
def test_the_likely_verdict_of_a_group_gets_no_hard_warning(group: SpellingGroup) -> None:
    for example in group.examples:
        found = warnings(example, group.verdict, group.stage)
        assert [warning for warning in found if warning.hard] == [], example


def test_a_few_groups_settle_most_rows_and_merge_almost_nothing_wrongly() -> None:
    members = by_group()
    needed = actions([sum(each.rows for each in spellings) for spellings in members.values()])
    wrong = [each for spellings in members.values() for each in _differing(spellings)]
    print("shares   ", *(f"{share:.1%}" for share in SHARES))
    print("decisions", *needed)
    print(f"wrong merges {len(wrong)}, {sum(each.rows for each in wrong)} rows")
    assert needed == [2, 5, 7, 9, 11, 12, len(members)]
    assert len(members) <= 250
    assert wrong == []


def _differing(spellings: list[Classified]) -> list[Classified]:
    """The members of a group that are decided otherwise than most of its rows."""
    rows: Counter[object] = Counter()
    for each in spellings:
        rows[each.decision] += each.rows
    usual = rows.most_common(1)[0][0]
    return [each for each in spellings if each.decision != usual]


def test_a_group_agrees_with_the_classification_of_its_members() -> None:
    for spelling in classified_spellings():
        group = group_of(spelling.raw)
        if group and group.verdict is not DecisionVerdict.CHOOSE:
            assert (group.verdict, group.stage) == spelling.decision, spelling.raw


@given(st.text(max_size=300))
def test_any_text_has_a_group_or_none(spelling: str) -> None:
    assert group_of(spelling) in (None, *GROUPS)
