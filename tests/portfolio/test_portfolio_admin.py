"""The admin pages of the platform: editing, read-only ledgers, and constant queries."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from normalization.rollout import Mode
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import (
    ApiKey,
    Fund,
    IdempotencyRecord,
    PortfolioCompany,
    PortfolioStrategy,
    Simulation,
    StrategyStageAllocation,
)

MODELS = [
    "fund",
    "portfoliocompany",
    "portfoliostrategy",
    "simulation",
    "apikey",
    "idempotencyrecord",
]


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("operator"))
    return client


def many(fund: Fund, number: int) -> None:
    """Add `number` rows of every kind, companies in a fund of their own each."""
    for place in range(number):
        other = Fund.objects.create(name=f"Fund {Fund.objects.count()}")
        PortfolioCompany.objects.create(fund=other, name=f"Company {place}", stage="Seed")
        strategy = PortfolioStrategy.objects.create(
            fund=other, name=f"Strategy {place}", client="tests"
        )
        StrategyStageAllocation.objects.create(
            strategy=strategy, spelling="Seed", stage="seed", weight=1, position=0
        )
        Simulation.objects.create(
            fund=other,
            client="tests",
            parameters={},
            parameters_hash="0",
            profile="p",
            seed=1,
            summary={},
        )
        create_key(f"client {place}", funds=[other.pk, fund.pk])
        IdempotencyRecord.objects.create(
            client="tests", endpoint="e", key=f"{other.pk}", body_sha256="0"
        )


def page(model: str, kind: str = "changelist", *arguments: Any) -> str:
    return reverse(f"admin:portfolio_{model}_{kind}", args=arguments)


@pytest.mark.parametrize("model", MODELS)
def test_a_list_costs_the_same_queries_for_many_rows_as_for_few(
    operator: Client, fund: Fund, model: str
) -> None:
    many(fund, 2)
    with CaptureQueriesContext(connection) as few:
        assert operator.get(page(model)).status_code == 200
    many(fund, 20)
    with CaptureQueriesContext(connection) as lots:
        assert operator.get(page(model)).status_code == 200
    assert len(lots) == len(few)


@pytest.mark.parametrize("model", MODELS)
def test_lists_can_be_searched(operator: Client, fund: Fund, model: str) -> None:
    many(fund, 2)
    assert operator.get(page(model), {"q": "2"}).status_code == 200


def test_companies_are_found_by_name_fund_and_status(operator: Client, fund: Fund) -> None:
    many(fund, 3)
    PortfolioCompany.objects.create(fund=fund, name="Fern", stage="seed", status="exited")
    for query in ({"q": "fern"}, {"status__exact": "exited"}, {"fund__id__exact": str(fund.pk)}):
        shown = operator.get(page("portfoliocompany"), query).content.decode()
        assert "Fern" in shown
        assert "Company 1" not in shown


def test_no_form_lists_every_fund(operator: Client, fund: Fund) -> None:
    many(fund, 3)
    Fund.objects.create(name="Unrelated")
    key = ApiKey.objects.filter(name="client 1").get()
    for address in (
        page("portfoliocompany", "add"),
        page("portfoliocompany", "change", PortfolioCompany.objects.latest("pk").pk),
        page("portfoliostrategy", "change", PortfolioStrategy.objects.latest("pk").pk),
        page("apikey", "change", key.pk),
    ):
        form = operator.get(address).content.decode()
        assert "Unrelated" not in form


@pytest.mark.parametrize("model", ["simulation", "idempotencyrecord"])
def test_ledgers_are_read_only(operator: Client, fund: Fund, model: str) -> None:
    many(fund, 1)
    models: dict[str, Any] = {"simulation": Simulation, "idempotencyrecord": IdempotencyRecord}
    row = models[model].objects.get()
    assert operator.get(page(model, "change", row.pk)).status_code == 200
    assert operator.post(page(model, "change", row.pk), {}).status_code == 403
    assert operator.get(page(model, "add")).status_code == 403
    assert operator.post(page(model, "delete", row.pk), {"post": "yes"}).status_code == 403


def test_strategies_are_made_through_the_api_only(operator: Client, fund: Fund) -> None:
    assert operator.get(page("portfoliostrategy", "add")).status_code == 403


def add_key(operator: Client, name: str, *funds: Fund) -> str:
    form = {
        "name": name,
        "apikeyfund_set-TOTAL_FORMS": str(len(funds)),
        "apikeyfund_set-INITIAL_FORMS": "0",
    }
    form |= {f"apikeyfund_set-{place}-fund": str(fund.pk) for place, fund in enumerate(funds)}
    return operator.post(page("apikey", "add"), form, follow=True).content.decode()


def test_a_new_key_is_shown_once_and_works(operator: Client, fund: Fund) -> None:
    other = Fund.objects.create(name="Other")
    shown = re.search(r"[0-9A-Za-z]{8}\.[0-9A-Za-z]{32}", add_key(operator, "reports", fund))
    assert shown
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {shown[0]}")
    assert client.get(f"/api/funds/{fund.pk}/companies").status_code == 200
    assert client.get(f"/api/funds/{other.pk}/companies").status_code == 404
    for address in (page("apikey"), page("apikey", "change", ApiKey.objects.get().pk)):
        assert shown[0] not in operator.get(address).content.decode()


def test_a_key_s_name_is_held_to_what_is_safe_in_logs(operator: Client) -> None:
    assert "printable ASCII" in add_key(operator, "zoë")
    assert not ApiKey.objects.exists()


def test_a_key_is_revoked_by_one_box(operator: Client, fund: Fund) -> None:
    key, text = create_key("reports")
    form = {
        "name": "reports",
        "revoked": "on",
        "apikeyfund_set-TOTAL_FORMS": "0",
        "apikeyfund_set-INITIAL_FORMS": "0",
    }
    operator.post(page("apikey", "change", key.pk), form)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    assert (
        client.get(f"/api/funds/{fund.pk}/companies").json()["detail"]
        == "The API key was revoked."
    )


def test_only_our_own_keys_have_pages(operator: Client) -> None:
    assert "rest_framework_api_key" not in operator.get(reverse("admin:index")).content.decode()


def save_company(
    operator: Client, fund: Fund, stage: str, company: PortfolioCompany | None = None
) -> str:
    address = (
        page("portfoliocompany", "change", company.pk)
        if company
        else page("portfoliocompany", "add")
    )
    form = {"fund": str(fund.pk), "name": "Fern", "stage_raw": stage, "status": "active"}
    return operator.post(address, form, follow=True).content.decode()


def test_a_stage_that_is_typed_in_is_held_to_the_rules_of_the_api(
    operator: Client, fund: Fund, set_mode: Callable[..., int]
) -> None:
    assert "has no stage" not in save_company(operator, fund, "Series A")
    assert "“Seires A” has no stage" in save_company(operator, fund, "Seires A")
    stored = fund.companies.order_by("pk").values_list("stage_raw", "stage")
    assert list(stored) == [("Series A", "series-a"), ("Seires A", None)]
    set_mode(Mode.ENFORCE)
    assert "Did you mean series-a?" in save_company(operator, fund, "Seires A")
    assert fund.companies.count() == 2
    legacy = fund.companies.latest("pk")
    save_company(operator, fund, "Seires A", legacy)
    legacy.refresh_from_db()
    assert (legacy.name, legacy.stage_raw, legacy.stage) == ("Fern", "Seires A", None)
    save_company(operator, fund, "SEED", legacy)
    legacy.refresh_from_db()
    assert (legacy.stage_raw, legacy.stage) == ("SEED", "seed")


@pytest.mark.parametrize(
    ("rollout", "refused"),
    [
        ({}, True),
        ({"enforce_percent": Decimal(0)}, False),
        ({"enforce_percent": Decimal(0), "pilots": frozenset({"admin"})}, True),
        ({"holdouts": frozenset({"admin"})}, False),
        ({"overrides": {"admin": Mode.WARN}}, False),
        ({"overrides": {"fund-companies": Mode.WARN}}, True),
    ],
)
def test_the_admin_s_forms_are_a_client_and_an_endpoint_of_the_rollout(
    operator: Client,
    fund: Fund,
    set_mode: Callable[..., int],
    rollout: dict[str, Any],
    refused: bool,
) -> None:
    set_mode(Mode.ENFORCE, **rollout)
    assert ("is not known" in save_company(operator, fund, "Seires A")) is refused
    assert fund.companies.count() == (not refused)
    save_company(operator, fund, "Series A")
    saved = fund.companies.latest("pk")
    assert (saved.stage_raw, saved.stage) == ("Series A", "series-a")


@pytest.mark.parametrize(
    ("raw", "stage"), [(" Seires A ", None), (None, " Seires A ")], ids=["this", "earlier release"]
)
def test_a_stage_that_a_form_does_not_change_keeps_its_white_space(
    operator: Client,
    fund: Fund,
    set_mode: Callable[..., int],
    raw: str | None,
    stage: str | None,
) -> None:
    company = PortfolioCompany.objects.create(fund=fund, name="Moss", stage_raw=raw, stage=stage)
    set_mode(Mode.ENFORCE)
    save_company(operator, fund, " Seires A ", company)
    company.refresh_from_db()
    assert (company.name, company.stage_raw, company.stage) == ("Fern", raw, stage)


def test_a_fund_with_companies_is_not_deleted(operator: Client, fund: Fund) -> None:
    PortfolioCompany.objects.create(fund=fund, name="Fern", stage="seed")
    operator.post(page("fund", "delete", fund.pk), {"post": "yes"})
    assert Fund.objects.filter(pk=fund.pk).exists()
