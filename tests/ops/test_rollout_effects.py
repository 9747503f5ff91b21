"""The effects of a change, as the rollout page shows them before it is made."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from normalization.rollout import Mode, Rollout, bucket
from ops.pages.rollout.changes import effects

WARN = Rollout(Mode.WARN)
ENFORCE = Rollout(Mode.ENFORCE)
CLIENTS = ["a", "b", "c"]


def sentences(old: Rollout, new: Rollout, clients: list[str] = CLIENTS) -> str:
    found = effects(old, new, clients, ["e", "f"])
    return " ".join([*found.differences, *found.clients])


def test_a_change_to_what_holds_does_nothing_and_asks_no_gate() -> None:
    found = effects(WARN, WARN, CLIENTS, ["e"])
    assert (found.differences, found.asks_gates) == ([], False)


@pytest.mark.parametrize(
    ("old", "new", "asks"),
    [
        (WARN, ENFORCE, True),
        (ENFORCE, WARN, False),
        (replace(ENFORCE, enforce_percent=Decimal(10)), ENFORCE, True),
        (ENFORCE, replace(ENFORCE, enforce_percent=Decimal(10)), False),
        (Rollout(Mode.OFF), ENFORCE, False),  # this transition does not exist, so no gate is asked
    ],
)
def test_the_effects_include_whether_the_gates_are_asked(
    old: Rollout, new: Rollout, asks: bool
) -> None:
    assert effects(old, new, CLIENTS, ["e"]).asks_gates is asks


def test_newly_enforced_clients_are_named() -> None:
    share = Decimal(bucket("b") + 1) / 100
    enforced = sorted(client for client in CLIENTS if bucket(client) <= bucket("b"))
    text = sentences(WARN, replace(ENFORCE, enforce_percent=share))
    assert f"Enforced: 0 → {len(enforced)} of the 3 clients" in text
    assert f"Newly enforced: {', '.join(enforced)}." in text
    assert "No longer enforced: a, b, c." in sentences(ENFORCE, WARN)


def test_a_client_is_enforced_if_one_endpoint_is_not_capped() -> None:
    assert "Enforced: 0 → 3" in sentences(WARN, replace(ENFORCE, overrides={"e": Mode.WARN}))
    assert "Enforced: 0 → 0" in sentences(
        WARN, replace(ENFORCE, overrides={"e": Mode.WARN, "f": Mode.OFF})
    )


def test_without_clients_the_effects_say_so() -> None:
    assert "No client sent a stage" in sentences(WARN, ENFORCE, [])


def test_every_difference_is_named() -> None:
    new = Rollout(
        Mode.WARN, Decimal("12.5"), frozenset({"p"}), frozenset("hijklm"), {"e": Mode.OFF},
        datetime(2026, 12, 31, tzinfo=UTC),
    )  # fmt: skip
    text = sentences(WARN, new)
    for part in (
        "Share 100 % → 12.5 %, which takes effect with enforce.",
        "New pilots: p.",
        "New holdouts: h, i, j, k, l and 1 more.",
        "e: as the mode → off.",
        "Announced: 31 Dec 2026 00:00 UTC.",
    ):
        assert part in text
    back = sentences(new, WARN)
    assert "No longer pilots: p." in back
    assert "The announced date is withdrawn." in back
