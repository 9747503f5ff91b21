"""The webhook: a signed, firing alert turns enforce into warn once. Nothing else has an effect."""

import gzip
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.test import Client
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as hypothesis_settings

from normalization import rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode
from ops.alerts import webhook
from ops.alerts.models import Heartbeat, UsedSignature, WebhookDelivery
from tests.logs import Logged
from tests.ops.deliveries import HEARTBEAT, PATH, alert, payload, raw, signed

pytestmark = pytest.mark.django_db

TIMESTAMP, SIGNATURE = "X-Alertmanager-Timestamp", "X-Alertmanager-Signature"
JSON = "application/json"


@pytest.fixture(autouse=True)
def _samplers_of_one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use samplers whose minute never ends, so that no new one begins in the middle of a test."""
    from normalization.sampling import Sampler

    monkeypatch.setattr(webhook, "_logged", Sampler(webhook.A_MINUTE, 1000, clock=lambda: 0.0))
    monkeypatch.setattr(webhook, "_kept", Sampler(webhook.A_MINUTE, 1_000_000, clock=lambda: 0.0))


def post(
    body: bytes, headers: dict[str, str], path: str = PATH, content_type: str = JSON, **extra: Any
) -> Any:
    """Send a raw body; an error in the view is an error of the test."""
    return Client(enforce_csrf_checks=True).post(
        path, body, content_type=content_type, headers=headers, **extra
    )


def mode() -> Mode:
    """The mode in the database."""
    return rollout_store.newest().rollout.mode


def deliver(content: object | None = None, path: str = PATH) -> Any:
    """Send a genuine delivery."""
    body = raw(payload() if content is None else content)
    return post(body, signed(body), path)


# -- The effect -------------------------------------------------------------


def test_a_genuine_firing_alert_turns_enforce_into_warn(set_mode: Callable[..., int]) -> None:
    before = set_mode("enforce")
    answer = deliver()
    assert (answer.status_code, answer.json()["outcome"]) == (200, "downgraded")
    assert answer.json()["version"] == rollout_store.newest().version > before
    change = RolloutChange.objects.latest("id")
    assert (change.previous_mode, change.mode, change.source) == ("enforce", "warn", "alert")
    delivery = WebhookDelivery.objects.get()
    assert (delivery.outcome, delivery.alert_names) == ("downgraded", ["StageRejectRateHigh"])
    assert (delivery.fingerprint, delivery.actor, delivery.version) == (
        "9d5b6a9a2f8d1f00",
        change.actor,
        change.pk,
    )


def test_a_downgrade_changes_only_the_mode(set_mode: Callable[..., int]) -> None:
    from decimal import Decimal

    set_mode(
        "enforce",
        enforce_percent=Decimal("12.5"),
        pilots=frozenset({"a"}),
        overrides={"x": Mode.WARN},
    )
    before = rollout_store.newest().rollout
    deliver()
    after = rollout_store.newest().rollout
    assert after.to_wire() == before.to_wire() | {"mode": "warn"}


@pytest.mark.parametrize("kept", ["off", "warn"])
def test_off_and_warn_are_not_changed(set_mode: Callable[..., int], kept: str) -> None:
    version = set_mode(kept) if kept != "off" else rollout_store.newest().version
    answer = deliver()
    assert (answer.status_code, answer.json()["outcome"]) == (200, "already")
    assert (mode(), rollout_store.newest().version) == (kept, version)


def test_enforcement_stays_off_when_the_alert_repeats(set_mode: Callable[..., int]) -> None:
    set_mode("enforce")
    outcomes = [
        deliver(payload(alert(instance=str(number)))).json()["outcome"] for number in range(3)
    ]
    assert outcomes == ["downgraded", "already", "already"]
    assert RolloutChange.objects.filter(source="alert").count() == 1


NOTHING = {
    "resolved": payload(alert(status="resolved"), status="resolved"),
    "resolved inside firing": payload(alert("StageValidatorSlow"), alert(status="resolved")),
    "firing inside resolved": payload(alert(), status="resolved"),
    "another alert": payload(alert("StageUnknownRateHigh")),
    "another action": payload(alert(stagenorm_action="none")),
    "the watchdog": payload(alert("StageWatchdog")),
    "no name": payload({"status": "firing", "labels": {}}),
    "no alerts": {"status": "firing", "alerts": []},
    "text that no database stores": payload(alert("Stage\x00\ud800", fp="\x00")),
}


@pytest.mark.parametrize("content", NOTHING.values(), ids=NOTHING.keys())
def test_any_other_delivery_changes_nothing(set_mode: Callable[..., int], content: Any) -> None:
    set_mode("enforce")
    answer = deliver(content)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "ignored")
    assert mode() is Mode.ENFORCE
    assert WebhookDelivery.objects.get().outcome == "ignored"


def test_grafana_s_delivery_needs_no_relay(set_mode: Callable[..., int]) -> None:
    set_mode("enforce")
    grafana = payload() | {
        "version": "1",
        "orgId": 1,
        "title": "[FIRING:1]",
        "state": "alerting",
        "message": "…",
    }
    grafana["alerts"][0] |= {
        "values": {"A": 0.5},
        "silenceURL": "http://127.0.0.1:3000/",
        "valueString": "[ var='A' ]",
    }
    body = json.dumps(grafana).encode()
    assert post(body, signed(body)).json()["outcome"] == "downgraded"


def test_the_watchdog_adds_a_heartbeat(set_mode: Callable[..., int]) -> None:
    set_mode("enforce")
    answer = deliver(payload(alert("StageWatchdog")), HEARTBEAT)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "alive")
    assert Heartbeat.objects.get().fingerprint == "9d5b6a9a2f8d1f00"
    assert mode() is Mode.ENFORCE


@pytest.mark.parametrize(
    "content", [payload(), payload(alert("StageWatchdog", "resolved"), status="resolved")]
)
def test_any_other_alert_adds_no_heartbeat(set_mode: Callable[..., int], content: Any) -> None:
    set_mode("enforce")
    assert deliver(content, HEARTBEAT).json()["outcome"] == "ignored"
    assert not Heartbeat.objects.exists()
    assert mode() is Mode.ENFORCE


def test_a_delivery_to_one_address_cannot_be_replayed_at_the_other(
    set_mode: Callable[..., int],
) -> None:
    set_mode("enforce")
    body = raw(payload())
    headers = signed(body)
    assert post(body, headers, HEARTBEAT).json()["outcome"] == "ignored"
    assert post(body, headers).json()["outcome"] == "repeated"
    assert mode() is Mode.ENFORCE


# -- Signatures ------------------------------------------------------------------

BODY = raw(payload())
OTHER_SECRET = "x" * 40


def headers(**changed: Any) -> dict[str, str]:
    """Return genuine headers of BODY. A function changes a value, None removes it."""
    found = signed(BODY)
    for name, change in changed.items():
        key = {"timestamp": TIMESTAMP, "signature": SIGNATURE}[name]
        value = change(found.pop(key)) if change else found.pop(key) and None
        if value is not None:
            found[key] = value
    return found


def flip_digit(value: str) -> str:
    """Change the last hex digit."""
    return value[:-1] + ("0" if value[-1] != "0" else "1")


def with_letters(value: str) -> str:
    """Upper case: another spelling of the same bytes."""
    return value.upper() if value.upper() != value else value + "A"


FORGED: dict[str, Callable[[], tuple[bytes, dict[str, str]]]] = {
    "unsigned": lambda: (BODY, {}),
    "signature missing": lambda: (BODY, headers(signature=None)),
    "timestamp missing": lambda: (BODY, headers(timestamp=None)),
    "wrong key": lambda: (BODY, signed(BODY, secret=OTHER_SECRET)),
    "one byte of the body changed": lambda: (BODY.replace(b"page", b"pagf"), headers()),
    "the body serialized again": lambda: (json.dumps(json.loads(BODY)).encode(), headers()),
    "without the newline at its end": lambda: (BODY.rstrip(), headers()),
    "signature upper case": lambda: (BODY, headers(signature=with_letters)),
    "signature one digit wrong": lambda: (BODY, headers(signature=flip_digit)),
    "signature of odd length": lambda: (BODY, headers(signature=lambda value: value[:-1])),
    "signature not hex": lambda: (BODY, headers(signature=lambda value: "g" + value[1:])),
    "signature not ASCII": lambda: (BODY, headers(signature=lambda value: "é" + value[1:])),
    "signature in full-width digits": lambda: (BODY, headers(signature=lambda value: "１" * 64)),
    "signature empty": lambda: (BODY, headers(signature=lambda value: "")),
    "signature with a newline": lambda: (BODY, headers(signature=lambda value: value + "\n")),
    "signature with its algorithm": lambda: (
        BODY,
        headers(signature=lambda value: "sha256=" + value),
    ),
    "two signatures joined": lambda: (BODY, headers(signature=lambda value: f"{value},{value}")),
    "two signatures joined, one wrong": lambda: (
        BODY,
        headers(signature=lambda value: f"{flip_digit(value)}, {value}"),
    ),
    "timestamp empty": lambda: (BODY, signed(BODY, "")),
    "timestamp in Arabic digits": lambda: (
        BODY,
        headers(timestamp=lambda v: v.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))),
    ),
    "timestamp a float": lambda: (BODY, signed(BODY, f"{time.time():.3f}")),
    "timestamp in milliseconds": lambda: (BODY, signed(BODY, str(int(time.time() * 1000)))),
    "timestamp of 5,000 digits": lambda: (BODY, signed(BODY, "1" * 5000)),
    "timestamp signed": lambda: (BODY, signed(BODY, f"+{int(time.time())}")),
    "timestamp with a space": lambda: (BODY, signed(BODY, f"{int(time.time())} ")),
    "timestamp 301 s old": lambda: (BODY, signed(BODY, str(int(time.time()) - 301))),
    "timestamp 301 s ahead": lambda: (BODY, signed(BODY, str(int(time.time()) + 301))),
    "a fresh timestamp on an old signature": lambda: (
        BODY,
        signed(BODY, str(int(time.time()) - 400)) | {TIMESTAMP: str(int(time.time()))},
    ),
    "the timestamp moved into the body": lambda: (b"1:" + BODY, headers()),
}


@pytest.fixture
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock, so that 301 seconds are exactly 301."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


@pytest.mark.usefixtures("_frozen")
@pytest.mark.parametrize("path", [PATH, HEARTBEAT])
@pytest.mark.parametrize("make", FORGED.values(), ids=FORGED.keys())
def test_a_forged_delivery_is_401_and_does_nothing(
    set_mode: Callable[..., int], make: Any, path: str
) -> None:
    version = set_mode("enforce")
    body, sent = make()
    answer = post(body, sent, path)
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"
    assert rollout_store.newest().version == version
    assert not UsedSignature.objects.exists()
    assert not Heartbeat.objects.exists()
    assert [row.outcome for row in WebhookDelivery.objects.all()] == ["forged"]


@pytest.mark.usefixtures("_frozen")
@pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
def test_a_timestamp_within_300_s_is_accepted(set_mode: Callable[..., int], seconds: int) -> None:
    set_mode("enforce")
    assert (
        post(BODY, signed(BODY, str(int(time.time()) + seconds))).json()["outcome"] == "downgraded"
    )


def test_every_current_secret_verifies_and_a_retired_one_does_not(
    set_mode: Callable[..., int], settings: Any
) -> None:
    old, new, retired = "o" * 40, "n" * 40, "r" * 40
    settings.ALERTMANAGER_WEBHOOK_SECRETS = [new, old]
    for secret in (old, new):
        set_mode("enforce")
        assert post(BODY, signed(BODY, secret=secret)).json()["outcome"] == "downgraded"
    set_mode("enforce")
    assert post(BODY, signed(BODY, secret=retired)).status_code == 401
    assert mode() is Mode.ENFORCE


def test_a_replay_after_the_operator_enforced_again_does_nothing(
    set_mode: Callable[..., int],
) -> None:
    set_mode("enforce")
    sent = signed(BODY)
    assert post(BODY, sent).json()["outcome"] == "downgraded"
    version = set_mode("enforce")
    answer = post(BODY, sent)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "repeated")
    assert (mode(), rollout_store.newest().version) == (Mode.ENFORCE, version)


def test_a_delivery_without_effect_cannot_be_replayed_later(
    set_mode: Callable[..., int],
) -> None:
    set_mode("warn")
    sent = signed(BODY)
    assert post(BODY, sent).json()["outcome"] == "already"
    set_mode("enforce")
    assert post(BODY, sent).json()["outcome"] == "repeated"
    assert mode() is Mode.ENFORCE


def test_used_signatures_are_deleted_when_they_are_too_old_to_be_accepted(
    set_mode: Callable[..., int],
) -> None:
    from datetime import timedelta

    from django.utils import timezone

    UsedSignature.objects.create(digest="a" * 64)
    UsedSignature.objects.update(used_at=timezone.now() - timedelta(days=2))
    deliver()
    assert UsedSignature.objects.count() == 1
    assert not UsedSignature.objects.filter(digest="a" * 64).exists()


# -- Bodies ------------------------------------------------------------

MALFORMED: dict[str, bytes] = {
    "white space alone": b" \n",
    "not JSON": b"firing",
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "nested 100,000 deep in a member": b'{"status":"firing","alerts":'
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}",
    "invalid UTF-8": b'{"status":"firing","alerts":[],"x":"\xff\xfe"}',
    "UTF-16": json.dumps(payload()).encode("utf-16"),
    "NaN": b'{"status":"firing","alerts":[],"x":NaN}',
    "1e999": b'{"status":"firing","alerts":[],"x":1e999}',
    "duplicate keys": BODY.replace(b'{"receiver"', b'{"status":"resolved","receiver"', 1),
    "an integer of 5,000 digits": b'{"status":"firing","alerts":[],"x":' + b"1" * 5000 + b"}",
    "a list": b"[]",
    "null": b"null",
    "alerts null": raw(payload() | {"alerts": None}),
    "alerts missing": raw({"status": "firing"}),
    "alerts an object": raw(payload() | {"alerts": {"0": alert()}}),
    "alerts a list of scalars": raw(payload() | {"alerts": ["StageRejectRateHigh", 1]}),
    "alerts a list of null": raw(payload() | {"alerts": [None]}),
    "labels null": raw(payload(alert() | {"labels": None})),
    "labels missing": raw(payload({"status": "firing"})),
    "labels a list": raw(payload(alert() | {"labels": ["alertname"]})),
    "a label that is no string": raw(
        payload(alert() | {"labels": {"alertname": ["StageRejectRateHigh"]}})
    ),
    "status unknown": raw(payload(status="fired")),
    "status a list": raw(payload() | {"status": ["firing"]}),
    "an alert's status an object": raw(payload(alert() | {"status": {}})),
    "fingerprint a number": raw(payload(alert() | {"fingerprint": 1})),
}


@pytest.mark.parametrize("path", [PATH, HEARTBEAT])
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_signed_body_of_another_shape_is_400_and_does_nothing(
    set_mode: Callable[..., int], body: bytes, path: str
) -> None:
    version = set_mode("enforce")
    answer = post(body, signed(body), path)
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert rollout_store.newest().version == version
    assert not UsedSignature.objects.exists()


def test_a_body_of_300_kb_is_413(set_mode: Callable[..., int]) -> None:
    set_mode("enforce")
    body = raw(payload() | {"padding": "x" * 300_000})
    assert post(body, signed(body)).status_code == 413
    assert mode() is Mode.ENFORCE


def test_the_largest_body_is_read(set_mode: Callable[..., int]) -> None:
    set_mode("enforce")
    body = raw(payload())
    body += b" " * (256 * 1024 - len(body))
    assert post(body, signed(body)).json()["outcome"] == "downgraded"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"]
)
def test_another_content_type_is_415(set_mode: Callable[..., int], content_type: str) -> None:
    set_mode("enforce")
    assert post(BODY, signed(BODY), content_type=content_type).status_code == 415
    assert mode() is Mode.ENFORCE


def test_a_charset_in_the_content_type_is_accepted(set_mode: Callable[..., int]) -> None:
    set_mode("enforce")
    assert (
        post(BODY, signed(BODY), content_type="application/json; charset=utf-8").status_code == 200
    )


def test_gzip_is_415(set_mode: Callable[..., int]) -> None:
    set_mode("enforce")
    packed = gzip.compress(BODY)
    assert post(packed, signed(packed) | {"Content-Encoding": "gzip"}).status_code == 415
    assert mode() is Mode.ENFORCE


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
def test_every_other_method_is_405(set_mode: Callable[..., int], method: str) -> None:
    set_mode("enforce")
    answer = getattr(Client(), method)(PATH, headers=signed(b""))
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert mode() is Mode.ENFORCE


@pytest.mark.parametrize("length", ["", "-1", "1_0", "٣"])
def test_an_invalid_content_length_is_411(set_mode: Callable[..., int], length: str) -> None:
    set_mode("enforce")
    assert post(BODY, signed(BODY), CONTENT_LENGTH=length).status_code == 411
    assert mode() is Mode.ENFORCE


def test_no_session_or_csrf_token_is_needed_or_set(
    set_mode: Callable[..., int],
) -> None:
    set_mode("enforce")
    answer = deliver()  # by a client that enforces CSRF checks
    assert answer.status_code == 200
    assert not answer.cookies
    assert "no-cache" in answer["Cache-Control"] or "no-store" in answer["Cache-Control"]


# -- Any payload ------------------------------------------------------------------

TEXT = strategies.text(max_size=30)
NAMES = (
    strategies.sampled_from(
        ["StageRejectRateHigh", "StageWatchdog", "StageUnknownRateHigh", "", "x"]
    )
    | TEXT
)
STATUS = strategies.sampled_from(["firing", "resolved"])
LEAVES = strategies.none() | strategies.booleans() | strategies.integers() | TEXT
ANYTHING = strategies.recursive(
    LEAVES,
    lambda inner: (
        strategies.lists(inner, max_size=3) | strategies.dictionaries(TEXT, inner, max_size=3)
    ),
    max_leaves=8,
)
LABELS = strategies.dictionaries(TEXT, TEXT, max_size=3)
ALERTS = strategies.builds(
    lambda name, status, labels, action, more: {
        **more,
        "status": status,
        "labels": {**labels, "alertname": name, **action},
    },
    NAMES,
    STATUS,
    LABELS,
    strategies.sampled_from(
        [{}, {"stagenorm_action": "auto_downgrade"}, {"stagenorm_action": "enforce"}]
    ),
    strategies.dictionaries(
        strategies.sampled_from(["annotations", "mode", "values"]), ANYTHING, max_size=2
    ),
)
PAYLOADS = strategies.builds(
    lambda alerts, status, more: {**more, "status": status, "alerts": alerts},
    strategies.lists(ALERTS, max_size=4),
    STATUS,
    strategies.dictionaries(
        strategies.sampled_from(["mode", "to", "receiver", "version"]), ANYTHING, max_size=3
    ),
)


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=PAYLOADS,
    start=strategies.sampled_from(["off", "warn", "enforce"]),
    path=strategies.sampled_from([PATH, HEARTBEAT]),
)
def test_the_only_effect_of_any_valid_payload_is_enforce_to_warn(
    set_mode: Callable[..., int], content: Any, start: str, path: str
) -> None:
    set_mode("warn")
    set_mode(start)
    before = rollout_store.newest()
    answer = deliver(content, path)
    after = rollout_store.newest()
    assert answer.status_code == 200
    fires = content["status"] == "firing" and any(
        each["status"] == "firing"
        and each["labels"]["alertname"] == "StageRejectRateHigh"
        and each["labels"].get("stagenorm_action") != "enforce"
        for each in content["alerts"]
    )
    if start == "enforce" and fires and path == PATH and answer.json()["outcome"] != "repeated":
        assert after.rollout.to_wire() == before.rollout.to_wire() | {"mode": "warn"}
    else:
        assert (after.version, after.rollout) == (before.version, before.rollout)


# -- Ledger and log ----------------------------------------------------


def test_bad_requests_neither_fill_the_ledger_nor_lock_out_the_genuine_sender(
    set_mode: Callable[..., int],
) -> None:
    set_mode("enforce")
    for _ in range(50):
        assert post(BODY, headers(signature=flip_digit)).status_code == 401
    assert WebhookDelivery.objects.filter(outcome="forged").count() == webhook.A_MINUTE
    assert deliver().json()["outcome"] == "downgraded"


def test_the_ledger_cannot_be_changed(set_mode: Callable[..., int]) -> None:
    from django.db import DatabaseError, transaction

    from normalization.models import AppendOnlyError

    deliver()
    row = WebhookDelivery.objects.get()
    with pytest.raises(AppendOnlyError):
        row.save()
    with pytest.raises(AppendOnlyError):
        row.delete()
    for change in (
        lambda: WebhookDelivery.objects.update(outcome="x"),
        lambda: WebhookDelivery.objects.all().delete(),
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()


def test_the_ledger_is_read_only_in_the_admin(
    admin_client: Client, set_mode: Callable[..., int]
) -> None:
    deliver()
    row = WebhookDelivery.objects.get()
    page = admin_client.get("/admin/ops/webhookdelivery/")
    assert "StageRejectRateHigh" in page.content.decode()
    assert admin_client.get(f"/admin/ops/webhookdelivery/{row.pk}/change/").status_code == 200
    for place in ("add/", f"{row.pk}/delete/"):
        assert admin_client.get(f"/admin/ops/webhookdelivery/{place}").status_code == 403
    assert (
        admin_client.post(
            f"/admin/ops/webhookdelivery/{row.pk}/change/", {"outcome": "x"}
        ).status_code
        == 403
    )


@pytest.mark.django_db(transaction=True)
def test_the_log_has_one_event_for_each_delivery_and_nothing_secret(
    set_mode: Callable[..., int], logged: Logged
) -> None:
    set_mode("enforce")
    logged.take()
    genuine, wrong = signed(BODY), headers(signature=flip_digit)
    post(BODY, wrong)
    post(BODY, genuine)
    text = logged.take()
    records = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    events = [record["event"] for record in records if record["event"].startswith("stage_")]
    assert sorted(events) == [
        "stage_mode_changed",
        "stage_webhook_delivery",
        "stage_webhook_refused",
    ]
    for secret in (*settings.ALERTMANAGER_WEBHOOK_SECRETS, genuine[SIGNATURE], wrong[SIGNATURE]):
        assert secret not in text


# -- Concurrency ------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_same_delivery_twice_at_once_is_one_flip_and_one_row(
    set_mode: Callable[..., int],
) -> None:
    set_mode("enforce")
    sent, gate = signed(BODY), threading.Barrier(8)

    def send(_: int) -> str:
        gate.wait()
        try:
            return str(post(BODY, sent).json()["outcome"])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as senders:
        outcomes = list(senders.map(send, range(8)))
    assert sorted(outcomes) == ["downgraded"] + ["repeated"] * 7
    assert RolloutChange.objects.filter(source="alert").count() == 1
    assert WebhookDelivery.objects.count() == 1
    assert mode() is Mode.WARN
