"""`GET /api/funds` lists the funds of the key, each once."""

from __future__ import annotations

from collections.abc import Callable

from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund

ApiFor = Callable[..., APIClient]


def funds(count: int) -> list[Fund]:
    return [
        Fund.objects.create(name=f"Fund {i:02d}", size_usd=i, vintage_year=2_000 + i)
        for i in range(count)
    ]


def test_a_key_lists_the_funds_that_it_may_see(api_for: ApiFor, db: None) -> None:
    first, second, _third = funds(3)
    answer = api_for(funds=[first.pk, second.pk]).get("/api/funds").json()
    assert [each["id"] for each in answer["funds"]] == [first.pk, second.pk]
    assert answer["funds"][1] == {
        "id": second.pk,
        "name": "Fund 01",
        "size_usd": "1.00",
        "vintage_year": 2_001,
        "created_at": second.created_at.isoformat().replace("+00:00", "Z"),
    }
    assert answer["next_cursor"] is None


def test_pages_hold_each_fund_once(api: APIClient, db: None) -> None:
    expected = [each.pk for each in funds(5)]
    seen, cursor = [], None
    while True:
        page = api.get("/api/funds", {"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [each["id"] for each in page["funds"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == expected


def test_the_list_needs_a_key(db: None) -> None:
    assert APIClient().get("/api/funds").status_code == 401


def test_unknown_parameters_and_foreign_cursors_are_refused(api: APIClient) -> None:
    assert api.get("/api/funds", {"fund": 1}).status_code == 400
    assert api.get("/api/funds", {"cursor": "invented"}).status_code == 400
