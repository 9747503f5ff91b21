"""What the tests of the operator's pages share."""

import pytest
from django.test import Client


@pytest.fixture
def operator(client: Client) -> Client:
    """A browser in which the operator ann is signed in, who may do everything."""
    from django.contrib.auth.models import User  # not before Django is set up

    client.force_login(User.objects.create_superuser("ann"))
    return client
