"""The service with two more views, for benchmarks: a plain one and one that computes nothing.

`Service(1, {"DJANGO_SETTINGS_MODULE": "tests.benchmarks.served_settings"})` serves them.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.urls.resolvers import URLPattern, URLResolver
from django.views.decorators.csrf import csrf_exempt
from rest_framework import generics, serializers
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.renderers import JSONRenderer

from stagenorm.portfolio.authentication import ApiKeyAuthentication, HasApiKey, fund_for
from stagenorm.portfolio.models import PortfolioCompany
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
    renderer_classes = (JSONRenderer,)
    serializer_class = PlainSerializer
    pagination_class = PlainPages

    def get_queryset(self) -> Any:
        fund_for(self.request, self.kwargs["fund_id"])
        return PortfolioCompany.objects.filter(
            fund_id=self.kwargs["fund_id"], stage__in=SEEDS
        ).order_by("id")


def fill_plain() -> int:
    """Store 100,000 companies of 50 funds with their text in `stage`; return one of the funds."""
    fund = fill(companies=100_000, funds=50)[7]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE portfolio_companies SET stage = stage_raw, stage_raw = NULL"
            " WHERE stage_raw IS NOT NULL"
        )
        cursor.execute("ANALYZE portfolio_companies")
    return fund


_stored: list[bytes] = []


@csrf_exempt
def stored_json(request: HttpRequest) -> HttpResponse:
    """Store the body of a PUT; answer a GET with it. Only the middleware does any work."""
    if request.method == "PUT":
        _stored[:] = [request.body]
    return HttpResponse(_stored[0], content_type="application/json")


urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("stagenorm.urls")),
    path("api/plain/<int:fund_id>", PlainCompanies.as_view()),
    path("api/stored", stored_json),
]
