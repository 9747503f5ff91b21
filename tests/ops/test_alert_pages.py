"""The lists of deliveries and heartbeats: what came in, and whether the alert path is alive."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from ops.alerts.models import DeliveryOutcome, Heartbeat, WebhookDelivery

pytestmark = pytest.mark.django_db
DELIVERIES, HEARTBEATS = "admin:ops_webhookdelivery_changelist", "admin:ops_heartbeat_changelist"


def shown(client: Client, name: str, **given: str) -> str:
    page = client.get(reverse(name), given).content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.mark.parametrize(
    ("name", "said"), [(DELIVERIES, "No delivery yet"), (HEARTBEATS, "No heartbeat yet")]
)
def test_an_empty_list_says_what_would_be_there(operator: Client, name: str, said: str) -> None:
    text = shown(operator, name)
    assert said in text
    assert "! not proven" in text


@pytest.mark.parametrize(("minutes", "said"), [(14, "✓ open"), (16, "✕ closed")])
def test_the_lists_say_whether_the_alert_path_is_alive(
    operator: Client, minutes: int, said: str
) -> None:
    Heartbeat.objects.create(fingerprint="f")
    Heartbeat.objects.update(received_at=timezone.now() - timedelta(minutes=minutes))
    for name in (DELIVERIES, HEARTBEATS):
        text = shown(operator, name)
        assert said in text
        assert f"{minutes} min" in text


@pytest.mark.parametrize("outcome", list(DeliveryOutcome))
def test_every_outcome_has_its_word_and_its_filter(
    operator: Client, outcome: DeliveryOutcome
) -> None:
    WebhookDelivery.objects.create(endpoint="heartbeat", outcome=outcome)
    word = outcome.replace("_", " ")
    assert re.search(
        rf"[✓✕!○] {word}\b", shown(operator, DELIVERIES, outcome__exact=outcome.value)
    )
    assert "Nothing matches" in shown(operator, DELIVERIES, endpoint="auto-downgrade")


def test_what_strangers_sent_is_shown_as_text(operator: Client) -> None:
    WebhookDelivery.objects.create(
        endpoint="heartbeat",
        outcome="forged",
        alert_names=["<b>x</b>", "a\u202eb"],
        detail="<script>alert(1)</script>",
    )
    page = operator.get(reverse(DELIVERIES)).content.decode()
    assert "<b>x" not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert 'a<span class="unseen">U+202E</span>b' in page


@pytest.mark.parametrize("name", [DELIVERIES, HEARTBEATS])
def test_the_lists_ask_as_often_for_many_rows_as_for_few(operator: Client, name: str) -> None:
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


def test_nobody_writes_them_by_hand(operator: Client) -> None:
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
