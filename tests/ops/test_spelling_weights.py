"""The weights of spellings follow the stored rows, the requests and the decisions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta

import pytest
from django.db.models import CharField
from django.db.models.functions import Coalesce
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from normalization import decisions
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch
from normalization.stages import BUILTIN, fold
from ops.pages.spellings import weights
from ops.pages.spellings.inbox import (
    UNITS_LISTED,
    InboxPage,
    InboxQuery,
    members_of,
    read_page,
    read_shares,
)
from ops.pages.spellings.models import SpellingCount, SpellingUnit
from ops.pages.spellings.weights import catch_up, count, ensure_fresh
from stagenorm.portfolio.models import PortfolioCompany
from tests.data.write_mapped_spellings import vocabulary
from tests.observed import saw
from tests.spelling_rows import decide, stored

pytestmark = pytest.mark.django_db


def units(page: InboxPage) -> list[tuple[str, int, int, int]]:
    return [(each.code, each.rows, each.requests, each.size) for each in page.listed]


def test_a_unit_adds_up_the_rows_and_requests_of_its_spellings() -> None:
    stored({"1st Round": 5, "2nd round": 3, "Seires A": 1, "seed": 9, "Seed Round": 4})
    saw("2nd round", 7)
    saw("2nd round", 2, client="other", days=6)
    saw("2nd round", 100, days=8)
    count()
    first, second = read_page(InboxQuery()).listed
    assert (first.code, first.rows, first.requests, first.size) == ("numbered", 8, 9, 2)
    assert [(each.spelling, each.rows, each.requests) for each in first.members] == [
        ("2nd round", 3, 9),
        ("1st Round", 5, 0),
    ]
    assert (second.code, second.rows, second.looks_like) == ("=seires a", 1, "series-a")


def test_the_weight_is_the_share_of_rows_plus_the_share_of_requests() -> None:
    stored({"many rows": 60, "both": 40, "few rows": 1})
    saw("both", 50)
    saw("only sent", 50)
    saw("few rows", 1)
    count()
    page = read_page(InboxQuery())
    assert [unit.code for unit in page.listed] == [
        "=both",
        "=many rows",
        "=only sent",
        "=few rows",
    ]
    assert page.listed[0].weight == pytest.approx(40 / 101 + 50 / 101)


def test_spellings_that_are_built_in_or_decided_are_not_undecided() -> None:
    stored({"Seed Round": 1, "seed": 1, "Grant": 1, "Loan": 1, "Angel": 1})
    count()
    assert {unit.code for unit in read_page(InboxQuery()).listed} == {"grant", "debt", "angel"}
    decide("GRANT")
    catch_up()
    assert {unit.code for unit in read_page(InboxQuery()).listed} == {"debt", "angel"}


def test_a_decision_counts_at_once_and_so_does_its_undo() -> None:
    stored({"1st Round": 5, "2nd Round": 3})
    count()
    batch = decide("1st round")
    catch_up()
    assert units(read_page(InboxQuery())) == [("numbered", 3, 0, 1)]
    decisions.undo(batch, author="ann", source=DecisionBatch.Source.ADMIN)
    catch_up()
    assert units(read_page(InboxQuery())) == [("numbered", 8, 0, 2)]


def test_a_spelling_that_a_client_just_sent_is_shown_without_a_new_count() -> None:
    stored({"Grant": 1})
    count()
    saw("brand new", 3)
    catch_up()
    assert ("=brand new", 0, 3, 1) in units(read_page(InboxQuery()))


def test_a_new_count_follows_the_rows() -> None:
    stored({"Grant": 2, "Loan": 1})
    count()
    PortfolioCompany.objects.filter(stage="Loan").delete()
    stored({"Grant": 1, "Angel": 4})
    count()
    assert units(read_page(InboxQuery())) == [("angel", 4, 0, 1), ("grant", 3, 0, 1)]


def test_a_spelling_in_no_row_and_in_no_request_of_the_week_is_forgotten() -> None:
    stored({"Grant": 1})
    saw("Loan", 1, days=6)
    count()
    assert SpellingUnit.objects.count() == 2
    PortfolioCompany.objects.all().delete()
    count()
    assert [unit.code for unit in read_page(InboxQuery()).listed] == ["debt"]
    assert SpellingUnit.objects.count() == 1


def test_an_open_spelling_is_hidden_until_it_grows_tenfold() -> None:
    stored({"Grant": 3})
    saw("Grant", 7)
    count()
    decide("Grant", verdict=DecisionVerdict.OPEN)
    catch_up()
    assert units(read_page(InboxQuery())) == []
    assert units(read_page(InboxQuery(opened=True))) == [("grant", 3, 7, 1)]
    saw("Grant", 89, client="other")
    catch_up()
    assert units(read_page(InboxQuery())) == []
    saw("Grant", 1, client="third")
    catch_up()
    assert units(read_page(InboxQuery())) == [("grant", 3, 97, 1)]


def test_search_matches_a_part_of_the_spelling_or_of_a_client_s_name() -> None:
    stored({"Grant": 1, "Term Loan": 1, "100%_strange": 1})
    saw("Angel", 1, client="deal-flow")
    count()
    found = {
        named: [unit.code for unit in read_page(InboxQuery(named=named)).listed]
        for named in ("LOAN", "FLOW", "%_s", "nothing")
    }
    assert found == {"LOAN": ["debt"], "FLOW": ["angel"], "%_s": ["=100% strange"], "nothing": []}


def test_the_order_may_be_by_time_or_by_resemblance() -> None:
    stored({"Grant": 9})
    count()
    stored({"Seires A": 1, "Semilla": 2, "Angel": 1})
    count()
    newest = [unit.code for unit in read_page(InboxQuery(order="newest")).listed]
    assert newest[-1] == "grant"
    likely = [unit.code for unit in read_page(InboxQuery(order="likely")).listed]
    assert likely == ["=semilla", "=seires a"]


def test_a_page_has_fifty_units_and_the_next_one_goes_on() -> None:
    stored({f"strange {number:03}": 1 for number in range(UNITS_LISTED + 3)})
    count()
    first, second = read_page(InboxQuery()), read_page(InboxQuery(page=2))
    assert (len(first.listed), first.has_next) == (UNITS_LISTED, True)
    assert (len(second.listed), second.has_next) == (3, False)
    assert not {unit.code for unit in first.listed} & {unit.code for unit in second.listed}


def test_a_unit_lists_its_heaviest_members_and_how_many_more_there_are() -> None:
    stored({"1st Round": 1, "2nd Round": 3, "3rd Round": 2})
    count()
    found = members_of(["numbered"], listed=2)["numbered"]
    assert [each.spelling for each in found] == ["2nd Round", "3rd Round"]


def test_shares_are_those_of_all_rows_and_requests() -> None:
    stored({"Seed Round": 1, "seed": 2, "Grant": 3, "Loan": 4, "Angel": 5})
    saw("Grant", 6)
    saw("Angel", 7)
    decide("Grant")
    count()
    shares = read_shares(SpellingCount.objects.get())
    assert {verdict: (share.rows, share.requests) for verdict, share in shares.items()} == {
        "built in": (3, 0),
        "outside": (3, 6),
        "": (9, 7),
    }


def test_a_count_is_made_again_after_ten_minutes() -> None:
    now = timezone.now()
    stored({"Grant": 1})
    assert ensure_fresh(now) is not None
    stored({"Loan": 1})
    ensure_fresh(now + timedelta(minutes=9))
    assert len(read_page(InboxQuery()).listed) == 1
    ensure_fresh(timezone.now() + timedelta(minutes=11))
    assert len(read_page(InboxQuery()).listed) == 2


def test_new_rules_sort_every_spelling_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stored({"Grant": 1})
    count()
    monkeypatch.setattr(weights, "group_of", lambda spelling: None)
    count()
    assert [unit.code for unit in read_page(InboxQuery()).listed] == ["grant"]
    monkeypatch.setattr(weights, "RULES", weights.RULES + 1)
    monkeypatch.setitem(weights._PARAMETERS, "rules", weights.RULES)
    count()
    assert [unit.code for unit in read_page(InboxQuery()).listed] == ["=grant"]


TEXTS = st.sampled_from(
    [
        "Grant",
        "grant ",
        "Loan",
        "1st Round",
        "2nd Round",
        "Seed",
        "Seires A",
        "",
        "é",
        "É",
        "x" * 255,
    ]
)


class Law(TestCase):
    """Any history of rows, requests and decisions ends in the same inbox as counting by hand."""

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(
            st.tuples(st.sampled_from(["store", "send", "decide", "count", "catch up"]), TEXTS)
        )
    )
    def test_the_inbox_is_what_counting_by_hand_gives(
        self, steps: Iterable[tuple[str, str]]
    ) -> None:
        decided: set[str] = set()
        sent: list[str] = []
        for step, text in steps:
            if step == "store":
                stored({text: 1})
            elif step == "send":
                sent.append(text[:100])
                saw(text[:100], client=f"client {len(sent)}")
            elif step == "decide" and not BUILTIN.holds(fold(text)):
                decide(text)
                decided.add(fold(text))
            elif step == "count":
                count()
            elif step == "catch up":
                catch_up()
        count()
        catch_up()
        written = Coalesce("stage_raw", "stage", output_field=CharField())
        rows: list[str] = list(PortfolioCompany.objects.values_list(written, flat=True))
        undecided = [
            text
            for text in [*rows, *sent]
            if fold(text) not in decided and not BUILTIN.holds(fold(text))
        ]
        expected = {weights._sorted(text)[2] for text in undecided}
        listed = read_page(InboxQuery()).listed
        assert {unit.code for unit in listed} == expected
        assert sum(unit.rows for unit in listed) == sum(text in undecided for text in rows)


def test_a_change_of_the_groups_or_of_folding_needs_a_new_version_of_the_rules() -> None:
    sorted_anew = "\n".join("\t".join(map(str, weights._sorted(raw))) for raw in vocabulary())
    digest = hashlib.sha256(sorted_anew.encode()).hexdigest()[:12]
    assert (weights.RULES, digest) == (1, "c97de198af76")
