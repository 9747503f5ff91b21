"""manage.py create_api_key: prints a key that works, and nothing else."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from stagenorm.portfolio.models import ApiKey, Fund

pytestmark = pytest.mark.django_db


def create(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("create_api_key", *arguments, stdout=out, **options)
    return out.getvalue()


def status(text: str, fund: Fund) -> int:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    return client.get(f"/api/funds/{fund.pk}/companies").status_code


def test_the_key_alone_is_printed_and_works_at_once(fund: Fund) -> None:
    printed = create("reports")
    assert printed.count("\n") == 1
    assert status(printed.strip(), fund) == 200
    assert ApiKey.objects.get().name == "reports"
    assert printed.strip() not in {ApiKey.objects.get().hashed_key, ApiKey.objects.get().pk}


def test_a_key_may_be_limited_to_funds_and_to_reading(fund: Fund) -> None:
    other = Fund.objects.create(name="Other")
    text = create("reports", "--fund", str(fund.pk), "--fund", str(fund.pk), "--read-only").strip()
    assert (status(text, fund), status(text, other)) == (200, 404)
    key = ApiKey.objects.get()
    assert list(key.funds.all()) == [fund]
    assert key.read_only


def test_keys_of_one_client_may_share_its_name(fund: Fund) -> None:
    first, second = create("reports").strip(), create("reports").strip()
    assert status(first, fund) == status(second, fund) == 200


@pytest.mark.parametrize(
    "expires", ["2999-12-31", "2999-12-31T12:00", "2999-12-31T12:00:00+02:00"]
)
def test_a_key_may_expire(fund: Fund, expires: str) -> None:
    assert status(create("reports", "--expires", expires).strip(), fund) == 200
    assert str(ApiKey.objects.get().expiry_date).startswith("2999-12-31")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "cannot be"),
        (["x" * 51], "at most 50 characters"),
        (["tab\there"], "printable ASCII"),
        (["line\n"], "printable ASCII"),
        ([" padded"], "printable ASCII"),
        (["padded "], "printable ASCII"),
        (["zoë"], "printable ASCII"),
        (["nul\0"], "printable ASCII"),
        (["ok", "--fund", "999999"], "Missing fund: 999999"),
        (["ok", "--fund", "0", "--fund", "-3"], "Missing fund: -3, 0"),
        (["ok", "--fund", str(10**30)], "Missing fund"),
        (["ok", "--expires", "tomorrow"], "is not a date"),
        (["ok", "--expires", "2020-01-01"], "is past"),
        (["ok", "--fund", "x"], "invalid int value"),
    ],
)
def test_a_mistake_makes_no_key_and_says_what_to_mend(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        create(*arguments)
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("name", ["x" * 50, "a", "billing service (EU) #2", "~!@$%^&*"])
def test_printable_names_are_fine(fund: Fund, name: str) -> None:
    assert status(create(name).strip(), fund) == 200
