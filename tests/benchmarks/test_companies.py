"""A page of companies by stage, against the obvious simple view on the same data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import include, path
from django.urls.resolvers import URLPattern, URLResolver
from rest_framework import generics, serializers
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.views import APIView

from stagenorm.portfolio.authentication import ApiKeyAuthentication, HasApiKey, fund_for
from stagenorm.portfolio.companies import FundCompanies
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import PortfolioCompany
from tests.benchmarks.harness import Comparison, Ratio, compare, hold
from tests.portfolio.fund_data import fill

SEEDS = ["seed", "Seed", "Seed Round", "SEED"]


class PlainSerializer(serializers.ModelSerializer[PortfolioCompany]):
    class Meta:
        model = PortfolioCompany
        fields = (
            "id",
            "name",
            "stage",
            "status",
            "sector",
            "invested_usd",
            "invested_at",
            "created_at",
            "updated_at",
        )


class PlainPages(LimitOffsetPagination):
    default_limit = 50
    max_limit = 200


class PlainCompanies(generics.ListAPIView[PortfolioCompany]):
    """ModelSerializer and OFFSET, with the same key and a list of spellings written by hand."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)
    serializer_class = PlainSerializer
    pagination_class = PlainPages

    def get_queryset(self) -> Any:
        fund_for(self.request, self.kwargs["fund_id"])
        return PortfolioCompany.objects.filter(
            fund_id=self.kwargs["fund_id"], stage__in=SEEDS
        ).order_by("id")


urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("stagenorm.urls")),
    path("plain/<int:fund_id>", PlainCompanies.as_view()),
]


@pytest.mark.django_db
def test_a_page_of_a_stage_serves_three_times_the_requests_of_the_plain_view(
    settings: Any,
) -> None:
    """The goal is for the views with authentication and rendering; the whole stack is reported."""
    settings.ROOT_URLCONF = __name__
    fund = fill(companies=100_000, funds=50)[7]
    client, requests = APIClient(), APIRequestFactory()
    key: dict[str, Any] = {"HTTP_AUTHORIZATION": f"Api-Key {create_key('bench')[1]}"}
    client.credentials(**key)
    ours, plain = (
        f"/api/funds/{fund}/companies?stage=seed&limit=50",
        f"/plain/{fund}?limit=50&offset=400",
    )
    for _ in range(8):  # to the middle of the list
        cursor = client.get(ours).json()["next_cursor"]
        ours = f"/api/funds/{fund}/companies?stage=seed&limit=50&cursor={cursor}"
    same = [company["id"] for company in client.get(plain).json()["results"]]
    assert [company["id"] for company in client.get(ours).json()["companies"]] == same

    def view(class_: type[APIView], address: str) -> Callable[[], None]:
        answer = class_.as_view()

        def five() -> None:
            for _ in range(5):
                answer(requests.get(address, **key), fund_id=fund).render()

        return five

    def stack(address: str) -> Callable[[], None]:
        def five() -> None:
            for _ in range(5):
                client.get(address)

        return five

    views = compare(view(FundCompanies, ours), view(PlainCompanies, plain))
    stacks = compare(stack(ours), stack(plain))
    hold(figure("companies page, rate over that of the plain view", 3, views))
    hold(
        figure(
            "companies page, the same through every middleware and the test client", None, stacks
        )
    )


def figure(name: str, goal: float | None, both: Comparison) -> Ratio:
    note = f"{both.subject_ns / 5e6:.2f} ms against {both.baseline_ns / 5e6:.2f} ms"
    return Ratio(name, goal, 1 / both.ratio, at_least=True, note=note)
