"""The configuration of Django's admin: a command does not import the pages of the admin.

`django.contrib.admin` imports the `admin` module of every app at start, and with them REST
framework, half of `ops` and numpy. A command needs none of it. Here the modules are imported by
the URL configuration, and by the admin's system checks.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin import autodiscover
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class OnDemandAdminConfig(SimpleAdminConfig):
    """The admin, whose modules are imported at the first use of the URL configuration."""

    default = False

    def ready(self) -> None:
        """Register the checks of the admin."""
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_discovered, checks.Tags.admin)


def check_discovered(**options: Any) -> list[checks.CheckMessage]:
    """Import the `admin` modules and check what they register."""
    autodiscover()
    found: list[checks.CheckMessage] = check_admin_app(**options)
    return found
