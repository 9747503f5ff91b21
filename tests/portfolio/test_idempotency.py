"""`Idempotency-Key`: a repeated request does its work once, even if the first one dies."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from normalization.parsers import loads
from stagenorm.portfolio.idempotency import body_digest
from stagenorm.portfolio.models import Fund, IdempotencyRecord, PortfolioStrategy, Simulation

ADDRESS = "/api/portfolio/strategies"
PATIENCE = 30.0
SetMode = Callable[..., int]
ApiFor = Callable[..., APIClient]


def body(fund: Fund, **members: Any) -> dict[str, Any]:
    return {"fund_id": fund.pk, "name": "Core", "stage_allocation": {"Series A": 1}, **members}


def post(api: APIClient, content: Any, key: str | None = "k-1") -> Any:
    headers: dict[str, Any] = {} if key is None else {"HTTP_IDEMPOTENCY_KEY": key}
    return api.post(ADDRESS, content, **headers)


def test_the_repeat_has_the_first_answer_and_says_so(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    set_mode("warn")
    first = post(api, body(fund, stage_allocation={"Series A": 0.5, "Angel": 0.5}))
    set_mode("enforce")
    second = post(api, body(fund, stage_allocation={"Series A": 0.5, "Angel": 0.5}))
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert not first.has_header("Idempotency-Replayed")
    assert second["Idempotency-Replayed"] == "true"
    for name in ("Location", "Stage-Validation", "Deprecation", "Link"):
        assert second[name] == first[name]
    assert PortfolioStrategy.objects.count() == 1


def test_order_of_members_and_white_space_make_no_other_body(api: APIClient, fund: Fund) -> None:
    post(api, body(fund))
    text = f'{{ "stage_allocation":{{"Series A":1}},\n"name":"Core", "fund_id":{fund.pk}}}'
    again = api.generic(
        "POST", ADDRESS, text, content_type="application/json", HTTP_IDEMPOTENCY_KEY="k-1"
    )
    assert (again.status_code, again["Idempotency-Replayed"]) == (201, "true")


NUMBERS = ["1", "1.0", "1e0", "10e-1", "0.1E+1"]


@pytest.mark.parametrize("first", NUMBERS)
@pytest.mark.parametrize("second", NUMBERS)
def test_a_number_in_another_notation_makes_no_other_body(
    api: APIClient, fund: Fund, first: str, second: str
) -> None:
    for number, replayed in ((first, None), (second, "true")):
        text = (
            f'{{"fund_id":{fund.pk},"name":"Core","stage_allocation":{{"seed":{number}}},'
            f'"deployment_months":{number}}}'
        )
        answer = api.generic(
            "POST", ADDRESS, text, content_type="application/json", HTTP_IDEMPOTENCY_KEY="k-1"
        )
        assert (answer.status_code, answer.get("Idempotency-Replayed")) == (201, replayed)
        assert b'"deployment_months":1,' in answer.content


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("100000000000000000000", "1e20", True),
        ("100000000000000000000000", "1.0E+23", True),
        ("9007199254740993", "9007199254740993.0", True),
        ("9007199254740993", "9007199254740992.0", False),
        ("9007199254740993", "900719925474099.3e1", True),
        ("-9007199254740993", "-9007199254740993.00", True),
        ("9007199254740991", "9007199254740991.0", True),
    ],
)
def test_a_large_whole_number_keeps_its_value_in_every_notation(
    one: str, other: str, same: bool
) -> None:
    first, second = (loads(f"[{text}]".encode()) for text in (one, other))
    assert (first == second) is same
    assert (body_digest(first) == body_digest(second)) is same


@pytest.mark.parametrize("notation", ["{}", "{}.0", "{}e0"])
def test_a_fund_is_found_by_its_number_in_every_notation(
    api: APIClient, api_for: ApiFor, fund: Fund, notation: str
) -> None:
    text = notation.format(fund.pk)
    content = f'{{"fund_id":{text},"name":"Core","stage_allocation":{{"seed":1}}}}'
    answer = api.generic("POST", ADDRESS, content, content_type="application/json")
    assert (answer.status_code, answer.json().get("fund_id")) == (201, fund.pk)
    stranger = api_for("stranger", funds=[Fund.objects.create(name="Birch").pk])
    answer = stranger.generic("POST", ADDRESS, content, content_type="application/json")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": [1.0, {"c": 2e3}]}, {"b": [1, {"c": 2000}], "a": 1.0}, True),
        (-0.0, 0, True),
        (2**53, float(2**53), True),
        (0.1, 0.1000, True),
        (2**53 + 1, float(2**53), False),
        (1, True, False),
        (0, None, False),
        ("1", 1, False),
        ([1, 2], [2, 1], False),
        (0.1, 0.10000000000000002, False),
    ],
)
def test_bodies_are_equal_by_their_json_value(one: Any, other: Any, same: bool) -> None:
    assert (body_digest(one) == body_digest(other)) is same


def test_a_replay_is_the_first_answer_byte_for_byte(api: APIClient, fund: Fund) -> None:
    content = body(
        fund,
        name="Größe ẞ",
        stage_allocation={"Series A": 0.5, "Angel": 1e-7, "seed": 0.4999999},
        tags=["x\u2028x", "z", "a"],
        check_size={"max": 1e-7, "min": None},
    )
    first, second = post(api, content), post(api, content)
    assert first.status_code == 201, first.json()
    assert second["Idempotency-Replayed"] == "true"
    assert second.content == first.content
    assert second["Content-Type"] == first["Content-Type"]
    indented = post_as(api, content, "application/json; indent=4")
    assert indented.content == first.content


def post_as(api: APIClient, content: Any, accept: str) -> Any:
    return api.post(ADDRESS, content, HTTP_IDEMPOTENCY_KEY="k-1", HTTP_ACCEPT=accept)


def test_an_indented_first_answer_is_replayed_indented(api: APIClient, fund: Fund) -> None:
    first = post_as(api, body(fund), "application/json; indent=2")
    assert b"\n" in first.content
    assert post(api, body(fund)).content == first.content


def test_a_record_of_an_earlier_release_is_replayed(api: APIClient, fund: Fund) -> None:
    first = post(api, body(fund))
    record = IdempotencyRecord.objects.get()
    assert record.response
    record.response = {"headers": record.response["headers"], "body": first.json()}
    record.save()
    again = post(api, body(fund))
    assert (again.status_code, again["Idempotency-Replayed"]) == (201, "true")
    assert again.json() == first.json()


def simulate(api: APIClient, fund: Fund, key: str | None = "s-1", **members: Any) -> Any:
    content = {
        "fund_id": fund.pk,
        "runs": 100,
        "stage_distribution": [{"stage": "Series A", "weight": 1}],
        **members,
    }
    headers: dict[str, Any] = {} if key is None else {"HTTP_IDEMPOTENCY_KEY": key}
    return api.post("/api/monte-carlo/simulate", content, **headers)


def test_a_repeated_simulation_is_stored_once_and_answered_alike(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    set_mode("warn")
    first, second = simulate(api, fund), simulate(api, fund)
    assert (first.status_code, second.status_code) == (200, 200)
    assert second["Idempotency-Replayed"] == "true"
    assert second.content == first.content
    assert second["Deprecation"] == first["Deprecation"]
    assert Simulation.objects.count() == 1
    kept = api.get(f"/api/monte-carlo/simulations/{first.json()['simulation_id']}")
    assert kept.json() == first.json()


def test_a_simulation_with_other_parameters_under_the_key_is_422(
    api: APIClient, fund: Fund
) -> None:
    simulate(api, fund)
    assert simulate(api, fund, runs=101).status_code == 422
    assert simulate(api, fund, "s-2", runs=101).status_code == 200
    assert simulate(api, fund, None, runs=101).status_code == 200
    assert Simulation.objects.count() == 3


def test_a_key_of_strategies_is_free_for_simulations(api: APIClient, fund: Fund) -> None:
    post(api, body(fund), "k")
    assert simulate(api, fund, "k").status_code == 200


def test_another_body_under_the_key_is_422(api: APIClient, fund: Fund) -> None:
    post(api, body(fund))
    answer = post(api, body(fund, name="Other"))
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    assert answer.json()["type"] == "/problems/idempotency-mismatch"
    assert PortfolioStrategy.objects.get().name == "Core"


def test_a_key_belongs_to_its_client(api: APIClient, api_for: ApiFor, fund: Fund) -> None:
    mine, theirs = post(api, body(fund)), post(api_for("other"), body(fund, name="Theirs"))
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert post(api_for("tests"), body(fund)).json() == mine.json()
    assert PortfolioStrategy.objects.count() == 2


def test_without_a_key_every_request_does_its_work(api: APIClient, fund: Fund) -> None:
    assert [post(api, body(fund), None).status_code for _ in range(2)] == [201, 201]
    assert PortfolioStrategy.objects.count() == 2
    assert not IdempotencyRecord.objects.exists()


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "caf\u00e9", "\x7f"])
def test_a_key_that_is_not_1_to_255_printable_ascii_is_400(
    api: APIClient, fund: Fund, key: str
) -> None:
    answer = post(api, body(fund), key)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/Idempotency-Key"
    assert not PortfolioStrategy.objects.exists()


@pytest.mark.parametrize(
    "key", ["x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b ~!"]
)
def test_any_printable_text_is_a_key(api: APIClient, fund: Fund, key: str) -> None:
    assert [post(api, body(fund), key).has_header("Idempotency-Replayed") for _ in range(2)] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"name": ""}, 400),
        ({"stage_allocation": {"Angel": 1}}, 400),
        ({"stage_allocation": {"seed": 1.001}}, 400),
        ({"fund_id": 9_999_999}, 404),
    ],
)
def test_a_refusal_keeps_nothing_so_the_corrected_request_may_use_the_key(
    api: APIClient, fund: Fund, set_mode: SetMode, wrong: dict[str, Any], status: int
) -> None:
    set_mode("enforce")
    assert post(api, body(fund, **wrong)).status_code == status
    assert not IdempotencyRecord.objects.exists()
    assert post(api, body(fund)).status_code == 201
    assert PortfolioStrategy.objects.count() == 1


def test_after_a_day_the_key_is_free_and_old_records_go(api: APIClient, fund: Fund) -> None:
    for key in ("k-1", "k-2", "k-3"):
        post(api, body(fund), key)
    IdempotencyRecord.objects.exclude(key="k-3").update(
        created_at=timezone.now() - timedelta(hours=24, seconds=1)
    )
    again = post(api, body(fund, name="Another"), "k-1")
    assert (again.status_code, again.has_header("Idempotency-Replayed")) == (201, False)
    assert set(IdempotencyRecord.objects.values_list("key", flat=True)) == {"k-1", "k-3"}
    assert post(api, body(fund), "k-3")["Idempotency-Replayed"] == "true"


def test_a_fund_that_left_the_keys_scope_is_404_on_the_repeat_too(
    api_for: ApiFor, fund: Fund
) -> None:
    from stagenorm.portfolio.models import ApiKey

    other = Fund.objects.create(name="Birch Capital II")
    limited = api_for("limited", funds=[fund.pk])
    assert post(limited, body(fund)).status_code == 201
    ApiKey.objects.get(name="limited").funds.set([other])
    assert post(limited, body(fund)).status_code == 404


def _in_thread(api: APIClient, content: Any, key: str = "k-1") -> Any:
    try:
        return post(api, content, key)
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_20_identical_requests_at_once_make_one_strategy(
    transactional_db: None, fund: Fund, api: APIClient
) -> None:
    start = threading.Barrier(20)

    def send(_: int) -> Any:
        start.wait(PATIENCE)
        return _in_thread(api, body(fund))

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(send, range(20)))
    kinds = Counter((answer.status_code, answer.get("Idempotency-Replayed")) for answer in answers)
    assert kinds[201, None] == 1
    assert set(kinds) <= {(201, None), (201, "true"), (409, None)}
    assert {answer.json()["id"] for answer in answers if answer.status_code == 201} == {
        PortfolioStrategy.objects.get().pk
    }
    assert post(api, body(fund))["Idempotency-Replayed"] == "true"


@pytest.mark.django_db(transaction=True)
def test_20_different_keys_at_once_make_20_strategies(
    transactional_db: None, fund: Fund, api: APIClient
) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: _in_thread(api, body(fund), f"key {n}"), range(20)))
    assert [answer.status_code for answer in answers] == [201] * 20
    assert PortfolioStrategy.objects.count() == IdempotencyRecord.objects.count() == 20


@contextmanager
def _first_request_held(api: APIClient, fund: Fund) -> Iterator[tuple[Future[Any], int]]:
    """A POST that waits in its transaction until the block ends, and the pid of its backend."""
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Fund.objects.select_for_update().get(pk=fund.pk)
        first = pool.submit(_in_thread, api, body(fund))
        yield first, _waiting_backend(first)


def _waiting_backend(first: Future[Any]) -> int:
    sql = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not first.done():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_stat_clear_snapshot()"
            )  # else a transaction sees its first look for ever
            cursor.execute(sql)
            found = cursor.fetchone()
        if found:
            return int(found[0])
    raise AssertionError("the first request did not come to wait")


@pytest.mark.django_db(transaction=True)
def test_while_the_first_is_at_work_the_repeat_is_409_at_once(
    transactional_db: None, fund: Fund, api: APIClient
) -> None:
    with _first_request_held(api, fund) as (first, _):
        repeat = post(api, body(fund))
        assert (repeat.status_code, repeat["Retry-After"]) == (409, "1")
        assert repeat.json()["type"] == "/problems/conflict"
    assert first.result().status_code == 201
    assert post(api, body(fund)).json() == first.result().json()
    assert PortfolioStrategy.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_request_that_dies_leaves_nothing_and_its_key_is_free(
    transactional_db: None, fund: Fund, api: APIClient
) -> None:
    api.raise_request_exception = False
    with _first_request_held(api, fund) as (first, backend), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [backend])
        assert first.result(PATIENCE).status_code >= 500
    assert not PortfolioStrategy.objects.exists()
    assert not IdempotencyRecord.objects.exists()
    retry = post(api, body(fund))
    assert (retry.status_code, retry.has_header("Idempotency-Replayed")) == (201, False)
