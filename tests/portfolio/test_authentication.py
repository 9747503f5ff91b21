"""Who is let in, and what a key may see and do."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import ProtectedError
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.views import APIView

from stagenorm.portfolio.authentication import (
    ApiKeyAuthentication,
    HasApiKey,
    fund_for,
    visible_funds,
)
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import ApiKey, Fund


def companies(fund: int | Fund) -> str:
    return f"/api/funds/{fund if isinstance(fund, int) else fund.pk}/companies"


class Probe(APIView):
    """Says who came and which funds it may see."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)

    def get(self, request: Request, fund_id: int | None = None) -> Response:
        if fund_id:
            return Response({"fund": fund_for(request, fund_id).name})
        names = list(visible_funds(request).order_by("name").values_list("name", flat=True))
        return Response({"client": str(request.auth), "user": str(request.user), "funds": names})

    post = get


def probe(text: str, method: str = "get", **kwargs: int) -> Response:
    request = getattr(APIRequestFactory(), method)("/", HTTP_AUTHORIZATION=f"Api-Key {text}")
    return Probe.as_view()(request, **kwargs)


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (None, "credentials were not provided"),
        ("", "credentials were not provided"),
        ("Api-Key", "no well-formed API key"),
        ("Bearer abcdefgh.abcdefghijklmnopqrstuvwxyzabcdef", "must have the form"),
        ("Basic dXNlcjpwYXNz", "must have the form"),
        ("abcdefgh.abcdefghijklmnopqrstuvwxyzabcdef", "must have the form"),
        ("Api-Key ", "no well-formed API key"),
        ("Api-Key x", "no well-formed API key"),
        ("Api-Key abcdefgh.", "no well-formed API key"),
        ("Api-Key abcdefgh.abc def", "no well-formed API key"),
        ("Api-Key abcdefghi.abcdefghijklmnopqrstuvwxyzabcdef", "no well-formed API key"),
        ("Api-Key abcdefgh.\x00", "no well-formed API key"),
        ("Api-Key abcdefgh.caf\xe9", "no well-formed API key"),
        ("Api-Key " + "a" * 5_000, "no well-formed API key"),
        ("Api-Key abcdefgh.abcdefghijklmnopqrstuvwxyzabcdef", "not known"),
    ],
)
def test_a_request_without_a_usable_key_is_401_with_a_challenge(
    fund: Fund, header: str | None, detail: str
) -> None:
    client = APIClient()
    if header is not None:
        client.credentials(HTTP_AUTHORIZATION=header)
    answer = client.get(companies(fund))
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Api-Key realm="stagenorm"'
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/not-authenticated"
    assert detail in answer.json()["detail"]


def test_only_the_holder_of_the_whole_key_learns_what_became_of_it(fund: Fund) -> None:
    revoked, revoked_text = create_key("revoked")
    ApiKey.objects.filter(pk=revoked.pk).update(revoked=True)
    expired, expired_text = create_key("expired")
    ApiKey.objects.filter(pk=expired.pk).update(expiry_date=timezone.now() - timedelta(seconds=1))
    details = {}
    for text in (revoked_text, expired_text, expired_text[:9] + "x" * 32):
        answer = APIClient().get(companies(fund), HTTP_AUTHORIZATION=f"Api-Key {text}")
        assert answer.status_code == 401
        details[text] = answer.json()["detail"]
    assert details[revoked_text] == "The API key was revoked."
    assert details[expired_text] == "The API key has expired."
    assert details[expired_text[:9] + "x" * 32] == "The API key is not known."


def test_the_scheme_is_read_in_either_case(fund: Fund) -> None:
    _, text = create_key("either")
    for scheme in ("Api-Key", "api-key", "API-KEY"):
        assert (
            APIClient().get(companies(fund), HTTP_AUTHORIZATION=f"{scheme} {text}").status_code
            == 200
        )


def test_a_key_limited_to_funds_finds_no_others(
    fund: Fund, api_for: Callable[..., APIClient]
) -> None:
    other = Fund.objects.create(name="Birch Capital II")
    limited = api_for("limited", funds=[fund.pk])
    assert limited.get(companies(fund)).status_code == 200
    out_of_scope, missing = limited.get(companies(other)), limited.get(companies(9_999_999))
    assert out_of_scope.status_code == missing.status_code == 404
    assert out_of_scope.json() | {"instance": ""} == missing.json() | {"instance": ""}


def test_the_funds_of_a_key_are_what_it_lists(db: None) -> None:
    first, second = (Fund.objects.create(name=name) for name in ("A", "B"))
    _, everything = create_key("all")
    _, limited = create_key("one", funds=[second.pk])
    assert probe(everything).data == {"client": "all", "user": "all", "funds": ["A", "B"]}
    assert probe(limited).data == {"client": "one", "user": "one", "funds": ["B"]}
    assert probe(limited, fund_id=second.pk).data == {"fund": "B"}
    assert probe(limited, fund_id=first.pk).status_code == 404


def test_a_read_only_key_may_look_but_not_write(db: None) -> None:
    _, text = create_key("reader", read_only=True)
    assert probe(text).status_code == 200
    refused = probe(text, "post")
    assert refused.status_code == 403
    assert refused.data["type"] == "/problems/forbidden"
    assert refused.data["detail"] == "This API key may only read."


@pytest.mark.parametrize("number", [0, 2**63, 10**30])
def test_a_fund_number_beyond_the_table_is_404(api: APIClient, number: int) -> None:
    assert api.get(companies(number)).status_code == 404


def test_a_fund_that_a_key_is_limited_to_cannot_be_deleted_from_under_it(fund: Fund) -> None:
    create_key("limited", funds=[fund.pk])
    with pytest.raises(ProtectedError):
        fund.delete()


def test_a_key_costs_one_query(
    fund: Fund, django_assert_num_queries: Callable[..., object]
) -> None:
    _, text = create_key("counted", funds=[fund.pk])
    # The key, with the fund and its scope.
    with django_assert_num_queries(1):  # type: ignore[attr-defined]
        assert probe(text, fund_id=fund.pk).status_code == 200
