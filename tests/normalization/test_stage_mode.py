"""`manage.py stage_mode` shows and sets the mode, and never exits 0 on failure."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from normalization.models import RolloutChange

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("stage_mode", *arguments, stdout=out)
    return out.getvalue().strip()


def test_show_is_the_default_and_changes_nothing() -> None:
    assert "off" in run()
    assert not RolloutChange.objects.exists()


def test_set_records_actor_and_reason() -> None:
    assert "warn" in run("set", "warn", "--reason", "start", "--actor", "ann")
    row = RolloutChange.objects.get()
    assert (row.mode, row.reason, row.actor, row.source) == ("warn", "start", "ann", "command")


def test_json_output_is_one_object() -> None:
    assert json.loads(run("set", "warn", "--reason", "x", "--json"))["mode"] == "warn"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["set", "warn"], "reason"),
        (["set"], "Name a mode"),
        (["set", "enforce", "--reason", "x"], "set warn"),
        (["set", "warn", "--reason", "x", "--expected-version", "7"], "version 0"),
        (["set", "loud", "--reason", "x"], "invalid choice"),
    ],
)
def test_what_cannot_be_done_is_an_error_that_says_why(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run(*arguments)
    assert not RolloutChange.objects.exists()
