"""Fixtures of the tests of the operator's pages."""

import pytest
from django.test import Client


@pytest.fixture
def operator(client: Client) -> Client:
    """A client in which the superuser ann is signed in."""
    from django.contrib.auth.models import User  # not before Django is set up

    client.force_login(User.objects.create_superuser("ann"))
    return client
