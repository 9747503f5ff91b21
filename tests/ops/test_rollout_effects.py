"""What the page says that a change would do."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from normalization.rollout import Mode, Rollout, bucket
from ops.pages.rollout.effects import effects

WARN = Rollout(Mode.WARN)
ENFORCE = Rollout(Mode.ENFORCE)
CLIENTS = ["a", "b", "c"]


def said(old: Rollout, new: Rollout, clients: list[str] = CLIENTS) -> str:
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
        (Rollout(Mode.OFF), ENFORCE, False),  # does not exist, so nobody is asked
    ],
)
def test_it_says_whether_the_gates_are_asked(old: Rollout, new: Rollout, asks: bool) -> None:
    assert effects(old, new, CLIENTS, ["e"]).asks_gates is asks


def test_it_names_the_clients_that_are_enforced_from_then_on() -> None:
    share = Decimal(bucket("b") + 1) / 100
    enforced = sorted(client for client in CLIENTS if bucket(client) <= bucket("b"))
    text = said(WARN, replace(ENFORCE, enforce_percent=share))
    assert f"Enforced: 0 → {len(enforced)} of the 3 clients" in text
    assert f"Enforced from then on: {', '.join(enforced)}." in text
    assert "No longer enforced: a, b, c." in said(ENFORCE, WARN)


def test_a_client_counts_as_enforced_where_one_endpoint_is_left() -> None:
    assert "Enforced: 0 → 3" in said(WARN, replace(ENFORCE, overrides={"e": Mode.WARN}))
    assert "Enforced: 0 → 0" in said(
        WARN, replace(ENFORCE, overrides={"e": Mode.WARN, "f": Mode.OFF})
    )


def test_it_says_that_nobody_is_known() -> None:
    assert "No client sent a stage" in said(WARN, ENFORCE, [])


def test_it_names_every_part_that_differs() -> None:
    new = Rollout(
        Mode.WARN, Decimal("12.5"), frozenset({"p"}), frozenset("hijklm"), {"e": Mode.OFF},
        datetime(2026, 12, 31, tzinfo=UTC),
    )  # fmt: skip
    text = said(WARN, new)
    for part in (
        "Share 100 % → 12.5 %, which takes effect with enforce.",
        "New pilots: p.",
        "New holdouts: h, i, j, k, l and 1 more.",
        "e: as the mode → off.",
        "Announced: 2026-12-31 00:00 UTC.",
    ):
        assert part in text
    back = said(new, WARN)
    assert "No longer pilots: p." in back
    assert "No date is announced any more." in back
