"""Imports in the admin: the list, the page of one import, and its undo with a confirmation."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from stagenorm.portfolio.models import CompanyImport, Fund, PortfolioCompany
from tests.imported import import_text

pytestmark = pytest.mark.django_db

LIST = "/admin/portfolio/companyimport/"
TEXT = "name,stage\nA,Foo\nB,Series A\n<b>C</b>,seed\n"


@pytest.fixture
def record(fund: Fund, tmp_path: Path) -> CompanyImport:
    import_text(tmp_path, fund, TEXT, "--actor", "ann")
    return CompanyImport.objects.get()


def client_with(*permissions: str) -> Client:
    """A signed-in member of staff who has these permissions of the app."""
    user = User.objects.create_user("operator", password="-", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_the_list_and_the_page_show_counts_and_offer_neither_upload_nor_editing(
    admin_client: Client, record: CompanyImport
) -> None:
    page = admin_client.get(LIST).content.decode()
    assert f"Import {record.pk}" in page
    assert "companies.csv" in page
    for number in ("3", "0", "1"):
        assert f">{number}</span>" in page
    assert "/add/" not in page.partition('id="content"')[2]
    page = admin_client.get(f"{LIST}{record.pk}/change/").content.decode()
    for text in ("of 3 lines", "Undecided", record.plan_hash, record.file_sha256, "ann"):
        assert text in page, text
    assert "/admin/ops/spellings/" in page
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}{record.pk}/change/").status_code == 403


def test_undo_asks_first_names_what_it_keeps_and_then_removes(
    admin_client: Client, record: CompanyImport
) -> None:
    PortfolioCompany.objects.get(name="<b>C</b>").save()
    address = f"{LIST}{record.pk}/undo/"
    question = admin_client.get(address).content.decode()
    assert "Remove 2 companies" in question
    assert "Kept: &lt;b&gt;C&lt;/b&gt;." in question
    admin_client.post(address)  # without the confirmation
    assert PortfolioCompany.objects.count() == 3
    done = admin_client.post(address, {"confirmed": "yes"}, follow=True)
    assert "2 companies removed, 1 kept, 0 already gone" in done.content.decode()
    assert [company.name for company in PortfolioCompany.objects.all()] == ["<b>C</b>"]
    record.refresh_from_db()
    assert record.undone_by == "admin"
    again = admin_client.post(address, {"confirmed": "yes"}, follow=True).content.decode()
    assert "is undone already" in again
    assert "undone already" in admin_client.get(address).content.decode()


@pytest.mark.parametrize(
    ("permissions", "status"),
    [
        ((), 403),
        (("view_companyimport",), 403),
        (("view_companyimport", "change_companyimport"), 403),
        (("view_companyimport", "delete_portfoliocompany"), 403),
        (("view_companyimport", "change_companyimport", "delete_portfoliocompany"), 200),
    ],
)
def test_undo_needs_the_permissions_to_change_imports_and_to_delete_companies(
    permissions: tuple[str, ...], status: int, record: CompanyImport
) -> None:
    client = client_with(*permissions)
    page = client.get(f"{LIST}{record.pk}/change/")
    assert page.status_code == (200 if permissions else 403)
    assert (b"/undo/" in page.content) == (status == 200)
    address = f"{LIST}{record.pk}/undo/"
    assert client.get(address).status_code == status
    if status == 403:
        assert client.post(address, {"confirmed": "yes"}).status_code == 403
        assert PortfolioCompany.objects.count() == 3


def test_an_import_that_is_too_large_for_a_page_is_undone_by_the_command_alone(
    admin_client: Client, record: CompanyImport
) -> None:
    CompanyImport.objects.update(imported=20_001)
    command = f"manage.py import_companies --undo {record.pk}"
    assert command in admin_client.get(f"{LIST}{record.pk}/change/").content.decode()
    address = f"{LIST}{record.pk}/undo/"
    assert command in admin_client.post(address, {"confirmed": "yes"}).content.decode()
    assert PortfolioCompany.objects.count() == 3


def test_a_list_without_imports_shows_the_command(admin_client: Client) -> None:
    assert "import_companies FILE.csv" in admin_client.get(LIST).content.decode()
    assert admin_client.get(f"{LIST}7/change/").status_code == 404
