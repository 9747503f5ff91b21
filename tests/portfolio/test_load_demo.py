"""`manage.py load_demo`: the same real spellings everywhere; secrets only the owner can read."""

import stat
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from normalization.stages import normalize, stage_name
from stagenorm.portfolio.demonstration import vocabulary
from stagenorm.portfolio.models import ApiKey, Fund, PortfolioCompany

pytestmark = pytest.mark.django_db
DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(autouse=True)
def debug(settings: Any, tmp_path: Path) -> Path:
    settings.DEBUG = True
    settings.DATA_DIR = tmp_path / "data"
    return tmp_path / "data"


def load() -> dict[str, str]:
    out = StringIO()
    call_command("load_demo", stdout=out)
    return {line[:10].strip(): line[10:] for line in out.getvalue().splitlines()}


def test_it_refuses_outside_debug(settings: Any) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DJANGO_DEBUG=1"):
        load()
    assert not Fund.objects.exists()
    assert not get_user_model().objects.exists()


def test_it_prints_an_operator_and_a_key_that_get_in(api: APIClient) -> None:
    ApiKey.objects.all().delete()
    printed = load()
    name, password = printed["Operator"].split()
    user = authenticate(username=name, password=password)
    assert user is not None
    assert user.is_superuser
    api.credentials(HTTP_AUTHORIZATION=f"Api-Key {printed['API key']}")
    fund = Fund.objects.earliest("pk")
    assert (
        len(api.get(f"/api/funds/{fund.pk}/companies", {"stage": "series-a"}).json()["companies"])
        > 10
    )
    assert ApiKey.objects.get().name == "demo"


def test_loading_again_changes_nothing_and_prints_the_same() -> None:
    first = load()
    before = list(PortfolioCompany.objects.order_by("pk").values_list())
    assert load() == first
    assert list(PortfolioCompany.objects.order_by("pk").values_list()) == before
    assert len(before) == 4_400
    assert ApiKey.objects.count() == get_user_model().objects.count() == 1


def test_the_same_companies_are_drawn_on_every_machine() -> None:
    def drawn() -> list[Any]:
        load()
        return list(
            PortfolioCompany.objects.order_by("pk").values_list(
                "fund__name", "name", "stage_raw", "stage", "invested_at"
            )
        )

    first = drawn()
    PortfolioCompany.objects.all().delete()
    Fund.objects.all().delete()
    assert drawn() == first


def test_the_stages_are_drawn_as_often_as_they_are_met() -> None:
    load()
    spellings, counts = vocabulary()
    stored = list(PortfolioCompany.objects.values_list("stage_raw", flat=True))
    assert set(stored) <= set(spellings)
    derived = PortfolioCompany.objects.values_list("stage_raw", "stage")
    assert all(stage == stage_name(normalize(raw)) for raw, stage in derived)
    share = counts[spellings.index("Seed Round")] / sum(counts)
    assert stored.count("Seed Round") / len(stored) == pytest.approx(share, abs=0.02)
    assert len(set(stored)) > 60


def test_the_vocabulary_is_the_one_that_the_tests_know() -> None:
    import stagenorm.portfolio

    shipped = Path(stagenorm.portfolio.__file__).parent / "demo" / "stage_vocabulary.csv"
    assert shipped.read_bytes() == (DATA / "stage_vocabulary.csv").read_bytes()


def test_the_secrets_are_for_their_owner_only(debug: Path) -> None:
    printed = load()
    for name, secret in (
        ("operator-password", printed["Operator"].split()[1]),
        ("demo-api-key", printed["API key"]),
    ):
        assert stat.S_IMODE((debug / name).stat().st_mode) == 0o600
        assert (debug / name).read_text() == secret + "\n"
    assert len(list(debug.iterdir())) == 2


def test_a_password_that_was_changed_is_not_printed_nor_set_back() -> None:
    load()
    operator = get_user_model().objects.get()
    operator.set_password("changed-by-a-person")
    operator.save()
    assert "unchanged" in load()["Operator"]
    assert authenticate(username="operator", password="changed-by-a-person")


def test_a_key_that_was_revoked_is_replaced(api: APIClient) -> None:
    first = load()["API key"]
    ApiKey.objects.filter(name="demo").update(revoked=True)
    second = load()["API key"]
    assert second != first
    assert load()["API key"] == second


def test_secrets_of_another_database_are_not_believed() -> None:
    first = load()
    ApiKey.objects.all().delete()
    get_user_model().objects.all().delete()
    second = load()
    assert second["API key"] != first["API key"]
    assert authenticate(username="operator", password=second["Operator"].split()[1])
