"""The lists of deliveries and heartbeats, and whether the way back is open."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from ops.alerts.models import DeliveryOutcome, Heartbeat, WebhookDelivery
from tests.observed import serves
from tests.pages import Page

pytestmark = pytest.mark.django_db
DELIVERIES, HEARTBEATS = "admin:ops_webhookdelivery_changelist", "admin:ops_heartbeat_changelist"


def opened(client: Client, name: str, **given: str) -> Page:
    return Page.get(client, reverse(name), **given)


@pytest.mark.parametrize(
    ("name", "shown"), [(DELIVERIES, "No delivery yet"), (HEARTBEATS, "No heartbeat yet")]
)
def test_an_empty_list_explains_its_rows(operator: Client, name: str, shown: str) -> None:
    text = opened(operator, name).text
    assert shown in text
    assert "! not proven" in text


@pytest.mark.parametrize(
    ("minutes", "shown"), [(5, "✓ open"), (14, "! not proven"), (16, "✕ closed")]
)
def test_the_lists_show_whether_the_way_back_is_open(
    operator: Client, minutes: int, shown: str
) -> None:
    Heartbeat.objects.create(fingerprint="f")
    Heartbeat.objects.update(received_at=timezone.now() - timedelta(minutes=minutes))
    serves(0)
    for name in (DELIVERIES, HEARTBEATS):
        text = opened(operator, name).text
        assert shown in text
        assert f"{minutes} min" in text


@pytest.mark.parametrize("outcome", list(DeliveryOutcome))
def test_every_outcome_has_its_word_and_its_filter(
    operator: Client, outcome: DeliveryOutcome
) -> None:
    WebhookDelivery.objects.create(endpoint="heartbeat", outcome=outcome)
    word = outcome.replace("_", " ")
    page = opened(operator, DELIVERIES, outcome__exact=outcome.value)
    (badge,) = page.one("table", id="result_list").all("span", css="badge")
    sign = badge.one("span", css="badge-sign").text
    assert badge.text == f"{sign} {word}"
    assert sign in "✓✕!○"
    assert "Nothing matches" in opened(operator, DELIVERIES, endpoint="auto-downgrade").text


def test_text_of_strangers_is_shown_as_text(operator: Client) -> None:
    WebhookDelivery.objects.create(
        endpoint="heartbeat",
        outcome="forged",
        alert_names=["<b>x</b>", "a\u202eb"],
        detail="<script>alert(1)</script>",
    )
    page = opened(operator, DELIVERIES)
    assert "<b>x" not in page.markup
    assert "<script>alert" not in page.markup
    ((*_, alerts, _, _, detail),) = page.one("table", id="result_list").cells()
    assert alerts == "<b>x</b> a U+202E b"
    assert detail == "<script>alert(1)</script>"


@pytest.mark.parametrize("name", [DELIVERIES, HEARTBEATS])
def test_the_number_of_queries_does_not_grow_with_the_rows(operator: Client, name: str) -> None:
    asked = []
    for more in (1, 20):
        for number in range(more):
            WebhookDelivery.objects.create(
                endpoint="heartbeat", outcome="alive", version=number, alert_names=["a"]
            )
            Heartbeat.objects.create(fingerprint="f")
        with CaptureQueriesContext(connection) as queries:
            assert operator.get(reverse(name)).status_code == 200
        asked.append(len(queries))
        counts = [
            each["sql"]
            for each in queries
            if "COUNT(" in each["sql"] and 'FROM "ops_' in each["sql"]
        ]
        assert all("LIMIT 10000" in each for each in counts)
    assert asked[0] == asked[1]


def test_the_lists_are_read_only(operator: Client) -> None:
    delivery = WebhookDelivery.objects.create(endpoint="heartbeat", outcome="alive")
    heartbeat = Heartbeat.objects.create(fingerprint="f")
    for model, key in (("webhookdelivery", delivery.pk), ("heartbeat", heartbeat.pk)):
        assert operator.get(reverse(f"admin:ops_{model}_change", args=[key])).status_code == 200
        assert (
            operator.post(reverse(f"admin:ops_{model}_change", args=[key]), {}).status_code == 403
        )
        assert (
            operator.post(
                reverse(f"admin:ops_{model}_delete", args=[key]), {"post": "yes"}
            ).status_code
            == 403
        )
        assert operator.get(reverse(f"admin:ops_{model}_add")).status_code == 403
