"""GET /api/funds/{fund_id}/companies: what it finds, in which order, and what it refuses."""

import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from django.core import signing
from rest_framework.test import APIClient

from normalization.decision_warnings import DecisionVerdict
from normalization.rollout import Mode
from normalization.stages import Stage
from stagenorm.portfolio.companies_parameters import MEMBERS
from stagenorm.portfolio.models import Fund, PortfolioCompany
from tests.decided import decide

SPELLINGS = [
    "series-a",
    "Series A",
    "SERIES_A",
    "series a round",
    "Seed",
    "seed",
    "Seires A",
    "SEIRES_A",
    "Bridge",
    "",
]


def address(fund: Fund) -> str:
    return f"/api/funds/{fund.pk}/companies"


def add(fund: Fund, name: str, stage: str | None = "seed", **fields: Any) -> PortfolioCompany:
    return PortfolioCompany.objects.create(fund=fund, name=name, stage=stage, **fields)


def names(api: APIClient, fund: Fund, **query: Any) -> list[str]:
    answer = api.get(address(fund), query)
    assert answer.status_code == 200, answer.content
    return [company["name"] for company in answer.json()["companies"]]


def pages(api: APIClient, fund: Fund, **query: Any) -> list[list[dict[str, Any]]]:
    found, cursor = [], None
    while True:
        answer = api.get(address(fund), query | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.content
        found.append(answer.json()["companies"])
        if (cursor := answer.json()["next_cursor"]) is None:
            return found


@pytest.fixture
def spelled(fund: Fund) -> Fund:
    """A fund with one company for each spelling, named after it."""
    PortfolioCompany.objects.bulk_create(
        PortfolioCompany(fund=fund, name=f"<{s}>", stage=s) for s in SPELLINGS
    )
    return fund


def test_a_company_is_answered_with_its_stage_and_what_is_stored(
    api: APIClient, fund: Fund
) -> None:
    full = add(
        fund,
        "Fernhollow Robotics",
        "SERIES_A",
        status="exited",
        sector="Robotics",
        invested_usd=Decimal("1250000.5"),
        invested_at=date(2021, 3, 4),
    )
    bare = add(fund, "Nowhere", "Seires A")
    answer = api.get(address(fund))
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    first, second = answer.json()["companies"]
    full.refresh_from_db()
    assert first == {
        "id": full.pk,
        "name": "Fernhollow Robotics",
        "stage": "series-a",
        "stage_raw": "SERIES_A",
        "stage_status": "known",
        "status": "exited",
        "sector": "Robotics",
        "invested_usd": "1250000.50",
        "invested_at": "2021-03-04",
        "created_at": full.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "updated_at": full.updated_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    assert (second["id"], second["stage"], second["stage_raw"]) == (bare.pk, None, "Seires A")
    assert (second["invested_usd"], second["invested_at"], second["sector"]) == (None, None, "")
    assert answer.json()["next_cursor"] is None


def test_an_empty_fund_is_an_empty_list(api: APIClient, fund: Fund) -> None:
    for query in (
        {},
        {"stage": "seed"},
        {"stage": "Seires A"},
        {"sort": "-invested_at", "q": "x"},
    ):
        assert api.get(address(fund), query).json() | {"warnings": []} == {
            "companies": [],
            "next_cursor": None,
            "warnings": [],
        }


def test_a_fund_lists_its_own_companies_only(api: APIClient, spelled: Fund) -> None:
    other = Fund.objects.create(name="Other")
    add(other, "Elsewhere", "Series-A")
    assert names(api, other) == names(api, other, stage="series-a") == ["Elsewhere"]
    assert "Elsewhere" not in names(api, spelled)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("series-a", ["series-a", "Series A", "SERIES_A", "series a round"]),
        ("Series A", ["series-a", "Series A", "SERIES_A", "series a round"]),
        ("  Series–A Funding\n", ["series-a", "Series A", "SERIES_A", "series a round"]),
        ("SEED ROUND", ["Seed", "seed"]),
        ("series-b", []),
        # An unknown stage finds that text or one with the same key, and no suggestion.
        ("Seires A", ["Seires A", "SEIRES_A"]),
        ("bridge", ["Bridge"]),
        ("", [""]),
        ("Series D", []),
    ],
)
def test_the_stage_filter_finds_every_stored_spelling_of_it(
    api: APIClient, spelled: Fund, asked: str, found: list[str]
) -> None:
    assert names(api, spelled, stage=asked) == [f"<{spelling}>" for spelling in found]


def test_the_stage_filter_finds_the_same_companies_before_and_after_a_migration(
    api: APIClient, spelled: Fund
) -> None:
    before = names(api, spelled, stage="series-a")
    PortfolioCompany.objects.filter(stage__in=["SERIES_A", "Series A"]).update(stage="series-a")
    assert names(api, spelled, stage="series-a") == before
    PortfolioCompany.objects.filter(name__in=before).update(stage="Series A round")
    assert names(api, spelled, stage="series-a") == before


def test_stages_are_found_by_what_their_text_means_today_derived_or_not(
    api: APIClient, fund: Fund
) -> None:
    add(fund, "legacy", "Bridge")
    add(fund, "derived", None, stage_raw="bridge")
    add(fund, "stale", "seed", stage_raw="BRIDGE")
    add(fund, "grant", None, stage_raw="Grant")
    add(fund, "seed", "seed", stage_raw="Seed")
    bridges = ["legacy", "derived", "stale"]
    shown = {each["name"]: each for [each] in pages(api, fund, limit=1)}
    assert {shown[name]["stage_status"] for name in bridges} == {"undecided"}
    assert [shown[name]["stage_raw"] for name in bridges] == ["Bridge", "bridge", "BRIDGE"]
    assert {shown[name]["stage"] for name in bridges} == {None}
    assert names(api, fund, stage_status="undecided") == [*bridges, "grant"]
    decide("bridge", Stage.SERIES_B)
    decide("grant", DecisionVerdict.OUTSIDE)
    assert names(api, fund, stage="Series B") == bridges
    assert names(api, fund, stage="seed", sort="-id") == ["seed"]
    for status, found in (
        ("known", [*bridges, "seed"]),
        ("outside", ["grant"]),
        ("undecided", []),
    ):
        assert names(api, fund, stage_status=status) == found
        single = pages(api, fund, stage_status=status, limit=1)
        assert [each["name"] for page in single for each in page] == found
    assert names(api, fund, stage="series-b", stage_status="outside") == []
    assert names(api, fund, stage="Grant", stage_status="outside") == ["grant"]
    refused = api.get(address(fund), {"stage_status": "unknown"})
    assert refused.json()["errors"][0]["code"] == "invalid_choice"


def test_enforce_refuses_an_unknown_stage_at_the_parameter(
    api: APIClient, spelled: Fund, set_mode: Callable[..., None]
) -> None:
    set_mode(Mode.ENFORCE)
    refused = api.get(address(spelled), {"stage": "Seires A"})
    assert refused.status_code == 400
    assert refused.json()["type"] == "/problems/unknown-stage"
    [item] = refused.json()["errors"]
    assert item == {
        "pointer": "/stage",
        "in": "query",
        "code": "unknown_stage",
        "received": "Seires A",
        "suggestions": ["series-a"],
    }
    # Stored spellings are never refused, only what a client asks for.
    assert len(names(api, spelled)) == len(SPELLINGS)
    assert len(names(api, spelled, stage="Series A")) == 4


@pytest.mark.parametrize("mode", ["off", "warn", "enforce"])
def test_a_plus_that_may_be_a_space_is_refused_rather_than_read_as_another_stage(
    api: APIClient, fund: Fund, set_mode: Callable[..., int], mode: str
) -> None:
    """`?stage=series-c+` decodes to "series-c ", which would be series-c."""
    set_mode(mode)
    PortfolioCompany.objects.create(fund=fund, name="later", stage="series-c+")
    PortfolioCompany.objects.create(fund=fund, name="earlier", stage="series-c")
    address = f"/api/funds/{fund.pk}/companies"
    for query in ("stage=series-c+", "limit=1&stage=Series+C+&sort=id"):
        answer = api.get(f"{address}?{query}")
        assert answer.status_code == 400
        assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
            ("/stage", "ambiguous_plus")
        ]
    for query, name in (
        ("stage=series-c%2B", "later"),
        ("stage=Series+C", "earlier"),
        ("stage=series-c%20", "earlier"),
    ):
        assert [
            company["name"] for company in api.get(f"{address}?{query}").json()["companies"]
        ] == [name]


def test_warn_answers_an_unknown_stage_with_a_warning(
    api: APIClient, spelled: Fund, set_mode: Callable[..., None]
) -> None:
    set_mode(Mode.WARN)
    answer = api.get(address(spelled), {"stage": "Seires A"})
    assert [company["stage_raw"] for company in answer.json()["companies"]] == [
        "Seires A",
        "SEIRES_A",
    ]
    assert answer.json()["warnings"][0]["pointer"] == "/stage"
    assert answer["Deprecation"].startswith("@")
    assert "unknown=1" in answer["Stage-Validation"]


def test_filters_narrow_together(api: APIClient, fund: Fund) -> None:
    add(fund, "One", "Seed", status="active", sector="Health")
    add(fund, "Two", "seed", status="exited", sector="Health")
    add(fund, "Three", "seed", status="active", sector="health")
    add(fund, "Four", "seed")
    assert names(api, fund, status="active") == ["One", "Three", "Four"]
    assert names(api, fund, status="written_off") == []
    assert names(api, fund, sector="Health") == ["One", "Two"]
    assert names(api, fund, sector="") == ["Four"]
    assert names(api, fund, stage="seed", status="active", sector="Health", q="on") == ["One"]


@pytest.mark.parametrize("stored", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("text", ["Élan Größe", "ế", "ﬁn①", "Ａlder", "한글"])
def test_search_matches_every_normalization_form_of_a_letter(
    api: APIClient, fund: Fund, text: str, asked: str, stored: Any
) -> None:
    add(fund, unicodedata.normalize(stored, f"x {text} x"))
    add(fund, "other")
    query = unicodedata.normalize(asked, text)  # type: ignore[arg-type]
    assert len(names(api, fund, q=query)) == 1


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_sector_is_found_in_either_form_of_its_letters(
    api: APIClient, fund: Fund, form: Any
) -> None:
    add(fund, "One", sector=unicodedata.normalize("NFC", "Santé"))
    add(fund, "Two", sector=unicodedata.normalize("NFD", "Santé"))
    add(fund, "Three", sector="Sante")
    assert names(api, fund, sector=unicodedata.normalize(form, "Santé")) == ["One", "Two"]


def test_a_byte_order_mark_before_a_text_changes_nothing(api: APIClient, fund: Fund) -> None:
    add(fund, "One", "Seed Round", sector="Health")
    add(fund, "Two", "series-a")
    for query in ({"q": "\ufeffone"}, {"sector": "\ufeffHealth"}, {"stage": "\ufeffSeed"}):
        assert names(api, fund, **query) == ["One"], query
    for name in ("limit", "sort", "fields", "status", "updated_since", "cursor"):
        answer = api.get(address(fund), {name: "\ufeff1"})
        assert answer.status_code == 400
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{name}"]


@pytest.mark.parametrize("name", ["q", "sector", "stage"])
def test_a_text_that_is_not_utf_8_is_refused(api: APIClient, fund: Fund, name: str) -> None:
    add(fund, "\ufffdlan", sector="\ufffdlan")
    [error] = api.get(f"{address(fund)}?{name}=%E9lan").json()["errors"]
    assert (error["pointer"], error["detail"]) == (f"/{name}", "The text is not UTF-8.")
    if name != "stage":
        assert names(api, fund, **{name: "\ufffdlan"}) == ["\ufffdlan"]


def test_a_cursor_continues_the_list_in_another_form_of_the_search(
    api: APIClient, fund: Fund
) -> None:
    for name in ("Élan 1", "Élan 2"):
        add(fund, name)
    page = api.get(address(fund), [("q", "É"), ("limit", "1")]).json()
    rest = api.get(address(fund), {"q": "E\u0301", "cursor": page["next_cursor"]}).json()
    assert [company["name"] for company in rest["companies"]] == ["Élan 2"]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("100%", ["100% Pure"]),
        ("%", ["100% Pure"]),
        ("_", ["snake_case"]),
        ("\\", ["back\\slash"]),
        ("k\\s", ["back\\slash"]),
        ("\\%", []),
        ("SNAKE", ["snake_case"]),
        ("élan", ["ÉLAN Vital"]),
        ("'", ["O'Hara"]),
        ("; DROP", []),
        ("", ["100% Pure", "snake_case", "back\\slash", "ÉLAN Vital", "O'Hara", "1000 Pure"]),
    ],
)
def test_q_is_literal_text_in_either_case(
    api: APIClient, fund: Fund, q: str, found: list[str]
) -> None:
    for name in ("100% Pure", "snake_case", "back\\slash", "ÉLAN Vital", "O'Hara", "1000 Pure"):
        add(fund, name)
    assert names(api, fund, q=q) == found


@pytest.mark.parametrize("limit", [1, 2, 3, 200])
@pytest.mark.parametrize(
    "sort",
    ["id", "-id", "name", "-name", "invested_at", "-invested_at", "created_at", "-created_at"],
)
@pytest.mark.parametrize("stage", [None, "seed"])
def test_pages_hold_every_company_once_in_order_with_undated_ones_last(
    api: APIClient, fund: Fund, sort: str, limit: int, stage: str | None
) -> None:
    days = [
        date(2020, 1, 2),
        None,
        date(2019, 5, 6),
        date(2020, 1, 2),
        None,
        date(2024, 2, 29),
        None,
    ]
    for place, day in enumerate(days):
        add(
            fund,
            "Twin" if place % 3 == 0 else f"Company {place % 4}",
            "Seed" if place % 2 else "seed",
            invested_at=day,
        )
    query = {"sort": sort, "limit": limit} | ({"stage": stage} if stage else {})
    found = pages(api, fund, **query)
    assert all(len(page) == limit for page in found[:-1])
    listed = [company for page in found for company in page]
    column, descending = sort.lstrip("-"), sort.startswith("-")
    dated = sorted(
        (company for company in listed if company[column] is not None),
        key=lambda company: (company[column], company["id"]),
        reverse=descending,
    )
    undated = sorted(
        (company for company in listed if company[column] is None),
        key=lambda company: company["id"],
        reverse=descending,
    )
    assert listed == dated + undated
    assert sorted(company["id"] for company in listed) == sorted(
        fund.companies.values_list("pk", flat=True)
    )


def test_the_page_size_may_change_while_paging(api: APIClient, spelled: Fund) -> None:
    first = api.get(address(spelled), {"limit": 2}).json()
    rest = api.get(address(spelled), {"limit": 200, "cursor": first["next_cursor"]}).json()
    assert len(first["companies"]) + len(rest["companies"]) == len(SPELLINGS)


def test_the_default_page_is_fifty(api: APIClient, fund: Fund) -> None:
    PortfolioCompany.objects.bulk_create(
        PortfolioCompany(fund=fund, name=str(n), stage="seed") for n in range(51)
    )
    assert [len(page) for page in pages(api, fund)] == [50, 1]


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("stages=seed", "/stages", "unknown_parameter"),
        ("format=json", "/format", "unknown_parameter"),
        ("page=2", "/page", "unknown_parameter"),
        ("a/b~c=1", "/a~1b~0c", "unknown_parameter"),
        ("stage=seed&stage=seed", "/stage", "repeated_parameter"),
        ("limit=5&limit=6", "/limit", "repeated_parameter"),
        ("limit=0", "/limit", "invalid"),
        ("limit=201", "/limit", "invalid"),
        ("limit=-1", "/limit", "invalid"),
        ("limit=", "/limit", "invalid"),
        ("limit=1e2", "/limit", "invalid"),
        ("limit=5.0", "/limit", "invalid"),
        ("limit=%2B5", "/limit", "invalid"),
        ("limit=%D9%A5", "/limit", "invalid"),
        ("limit=true", "/limit", "invalid"),
        ("limit=" + "9" * 5_000, "/limit", "invalid"),
        ("sort=stage", "/sort", "invalid_choice"),
        ("sort=updated_at", "/sort", "invalid_choice"),
        ("sort=id;drop", "/sort", "invalid_choice"),
        ("sort=", "/sort", "invalid_choice"),
        ("status=Active", "/status", "invalid_choice"),
        ("status=", "/status", "invalid_choice"),
        ("q=%00", "/q", "null_characters_not_allowed"),
        ("stage=seed%00", "/stage", "null_characters_not_allowed"),
        ("sector=%00", "/sector", "null_characters_not_allowed"),
        ("q=" + "x" * 201, "/q", "max_length"),
        ("sector=" + "x" * 101, "/sector", "max_length"),
        ("stage=" + "x" * 256, "/stage", "max_length"),
        ("cursor=", "/cursor", "invalid_cursor"),
        ("cursor=x", "/cursor", "invalid_cursor"),
        ("cursor=.", "/cursor", "invalid_cursor"),
        ("cursor=%C3%A9.%C3%A9", "/cursor", "invalid_cursor"),
        ("cursor=%00", "/cursor", "invalid_cursor"),
        ("cursor=%FF%FE", "/cursor", "invalid_cursor"),
        ("cursor=" + "A" * 5_000, "/cursor", "invalid_cursor"),
    ],
)
def test_a_faulty_parameter_is_a_problem_that_names_it(
    api: APIClient, fund: Fund, query: str, pointer: str, code: str
) -> None:
    answer = api.get(f"{address(fund)}?{query}")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    [item] = answer.json()["errors"]
    assert (item["pointer"], item["in"], item["code"]) == (pointer, "query", code)


def test_every_faulty_parameter_is_named_at_once(api: APIClient, fund: Fund) -> None:
    answer = api.get(address(fund) + "?limit=0&sort=x&color=red")
    assert {item["pointer"] for item in answer.json()["errors"]} == {"/limit", "/sort", "/color"}


def test_a_query_that_is_not_utf8_is_no_server_error(api: APIClient, fund: Fund) -> None:
    for name in ("stage", "q", "sector"):
        assert api.get(f"{address(fund)}?{name}=%FF%C0%AF%ED%A0%80").status_code == 400


LISTS: list[dict[str, Any]] = [
    {},
    {"stage": "seed"},
    {"stage": "series-a"},
    {"stage": "Bridge"},
    {"status": "active"},
    {"sector": "Health"},
    {"sector": ""},
    {"q": "x"},
    {"q": "x", "stage": "seed"},
    {"sort": "-id"},
    {"sort": "name"},
    {"sort": "invested_at"},
]


def test_a_cursor_is_good_for_its_own_list_only(api: APIClient, fund: Fund) -> None:
    other = Fund.objects.create(name="Other")
    for owner in (fund, other):
        for stage in ("seed", "series-a", "Bridge") * 2:
            add(owner, "x", stage, sector="Health")
            add(owner, "x", stage)
    lists = [(owner, query) for owner in (fund, other) for query in LISTS]
    cursors = [
        api.get(address(owner), query | {"limit": 1}).json()["next_cursor"]
        for owner, query in lists
    ]
    for mine, cursor in enumerate(cursors):
        for place, (owner, query) in enumerate(lists):
            status = api.get(address(owner), {**query, "limit": 1, "cursor": cursor}).status_code
            assert status == (200 if place == mine else 400)


def test_a_cursor_serves_any_spelling_of_its_stage_and_any_client(
    api: APIClient, spelled: Fund, api_for: Callable[..., APIClient]
) -> None:
    cursor = api.get(address(spelled), {"stage": "series-a", "limit": "1"}).json()["next_cursor"]
    assert len(names(api_for("another"), spelled, stage="Series A", cursor=cursor)) == 3


def test_a_cursor_changed_in_any_character_is_refused(api: APIClient, spelled: Fund) -> None:
    cursor = api.get(address(spelled), {"limit": 1}).json()["next_cursor"]
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    # The last character of the signature holds spare bits, so it is changed to a far one.
    changed = [
        cursor[:i] + ("A" if c != "A" else "Q") + cursor[i + 1 :] for i, c in enumerate(cursor)
    ]
    for text in [
        *changed,
        cursor[:-1],
        cursor + "A",
        cursor.upper(),
        cursor[::-1],
        f" {cursor}",
        cursor.split(".")[0],
    ]:
        assert api.get(address(spelled), {"cursor": text}).status_code == 400, text


def test_a_signature_made_for_something_else_is_no_cursor(api: APIClient, spelled: Fund) -> None:
    forged = signing.Signer(salt="elsewhere", sep=".").sign_object([None, 0])
    assert api.get(address(spelled), {"cursor": forged}).status_code == 400


def test_a_long_name_fits_a_cursor(api: APIClient, fund: Fund) -> None:
    for name in ("\U0001f680" * 200, "é" * 200, "z" * 200):
        add(fund, name)
    found = [
        company["name"] for page in pages(api, fund, sort="name", limit=1) for company in page
    ]
    assert len(found) == len(set(found)) == 3


def test_names_that_sort_alike_are_told_apart_by_id(api: APIClient, fund: Fund) -> None:
    for _ in range(5):
        add(fund, "Same")
    for sort in ("name", "-name"):
        ids = [company["id"] for page in pages(api, fund, sort=sort, limit=2) for company in page]
        assert all((a < b) == (sort == "name") for a, b in pairwise(ids))
        assert len(set(ids)) == 5


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_list_is_for_reading(api: APIClient, fund: Fund, method: str) -> None:
    answer = getattr(api, method)(address(fund))
    assert answer.status_code == 405
    assert answer.json()["type"] == "/problems/method-not-allowed"


def test_a_full_page_costs_two_queries(
    api: APIClient, spelled: Fund, django_assert_num_queries: Callable[..., Any]
) -> None:
    api.get(address(spelled), {"stage": "seed"})
    queries: list[dict[str, Any]] = [
        {},
        {"stage": "seed", "limit": 1},
        {"stage": "series-a", "sort": "-id", "limit": 3},
    ]
    for query in queries:
        with django_assert_num_queries(2):  # the key with the fund, the page
            api.get(address(spelled), query)
    with django_assert_num_queries(
        3
    ):  # a stage too rare to fill the page is read by its spellings
        api.get(address(spelled), {"stage": "seed"})


def test_updated_since_lists_what_changed_at_the_moment_or_later(
    api: APIClient, fund: Fund
) -> None:
    times = [datetime(2026, 11, 27, hour, tzinfo=UTC) for hour in range(4)]
    for hour, moment in enumerate(times):
        company = add(fund, str(hour), "Seed Round" if hour % 2 else "series-a")
        PortfolioCompany.objects.filter(pk=company.pk).update(updated_at=moment)
    for since in ("2026-11-27T02:00:00Z", "2026-11-27t04:00:00+02:00", "2026-11-27T02:00:00.000Z"):
        assert names(api, fund, updated_since=since) == ["2", "3"]
    assert names(api, fund, updated_since="2026-11-27T00:30:00Z", stage="seed") == ["1", "3"]
    descending: dict[str, Any] = {"updated_since": "2026-11-27T01:00:00Z", "sort": "-id"}
    found = pages(api, fund, limit=1, **descending)
    assert [company["name"] for page in found for company in page] == ["3", "2", "1"]
    first = api.get(address(fund), {**descending, "limit": 1}).json()["next_cursor"]
    other = api.get(address(fund), {"sort": "-id", "limit": 1, "cursor": first})
    assert other.json()["errors"][0]["code"] == "invalid_cursor"


def test_the_plus_of_an_offset_may_be_unescaped(api: APIClient, fund: Fund) -> None:
    company = add(fund, "a")
    since = (company.updated_at + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S+02:00")
    for written in (since, since.replace("+", "%2B")):
        answer = api.get(f"{address(fund)}?updated_since={written}")
        assert [each["name"] for each in answer.json()["companies"]] == ["a"]


@pytest.mark.parametrize(
    "since",
    [
        "",
        "yesterday",
        "2026-11-27",
        "2026-11-27T02:00:00",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1e9",
    ],
)
def test_a_moment_without_offset_or_of_another_form_is_refused(
    api: APIClient, fund: Fund, since: str
) -> None:
    [error] = api.get(address(fund), {"updated_since": since}).json()["errors"]
    assert (error["pointer"], error["code"]) == ("/updated_since", "invalid")


def test_fields_are_the_members_sent_in_their_usual_order_with_the_id(
    api: APIClient, fund: Fund
) -> None:
    add(fund, "a", "Seed Round")
    whole = api.get(address(fund)).json()["companies"][0]
    assert tuple(whole) == MEMBERS
    for asked in ("stage,id", "stage", "id,stage,stage"):
        [company] = api.get(address(fund), {"fields": asked}).json()["companies"]
        assert list(company.items()) == [("id", whole["id"]), ("stage", "seed")]
    [company] = api.get(address(fund), {"fields": ["stage", "name"]}).json()["companies"]
    assert list(company) == ["id", "name", "stage"]
    assert api.get(address(fund), {"fields": ",".join(MEMBERS)}).json()["companies"] == [whole]
    for asked in ("", "id,", "id,fund", "Stage", "id, stage"):
        [error] = api.get(address(fund), {"fields": asked}).json()["errors"]
        assert (error["pointer"], error["code"]) == ("/fields", "invalid_choice")
