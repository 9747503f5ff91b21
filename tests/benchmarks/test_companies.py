"""A page of companies by stage, against the obvious simple view on the same data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.views import APIView

from stagenorm.portfolio.companies import FundCompanies
from stagenorm.portfolio.keys import create_key
from tests.benchmarks.harness import Comparison, Ratio, compare, hold
from tests.benchmarks.served import PlainCompanies, fill_plain


@pytest.mark.django_db
def test_a_page_of_a_stage_serves_three_times_the_requests_of_the_plain_view(
    settings: Any,
) -> None:
    """The goal is for the views with authentication and rendering; the whole stack is reported."""
    settings.ROOT_URLCONF = "tests.benchmarks.served"
    fund = fill_plain()
    client, requests = APIClient(), APIRequestFactory()
    key: dict[str, Any] = {"HTTP_AUTHORIZATION": f"Api-Key {create_key('bench')[1]}"}
    client.credentials(**key)
    ours, plain = (
        f"/api/funds/{fund}/companies?stage=seed&limit=50",
        f"/api/plain/{fund}?limit=50&offset=400",
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
