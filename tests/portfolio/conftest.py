"""A fund and clients with real keys, for the tests of the platform's endpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # this file is read before Django is set up
    from rest_framework.test import APIClient

    from stagenorm.portfolio.models import Fund


@pytest.fixture
def fund(db: None) -> Fund:
    """An empty fund."""
    from stagenorm.portfolio.models import Fund

    return Fund.objects.create(name="Alder Ventures I")


@pytest.fixture
def api_for(db: None) -> Callable[..., APIClient]:
    """`api_for("name", funds=[1], read_only=True, expires=…)` → a client with a new key."""

    from rest_framework.test import APIClient

    from stagenorm.portfolio.keys import create_key

    def make(name: str = "tests", **options: Any) -> APIClient:
        _, text = create_key(name, **options)
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
        return client

    return make


@pytest.fixture
def api(api_for: Callable[..., APIClient]) -> APIClient:
    """A client whose key may see every fund and write."""
    return api_for()
