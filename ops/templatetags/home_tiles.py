"""`{% home_tiles %}`: the state of the platform, above the admin's list of apps."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone

from ops.pages.home import tiles

register = template.Library()


@register.inclusion_tag("admin/ops/home_tiles.html")
def home_tiles() -> dict[str, Any]:
    """Return the context of the template."""
    return {"tiles": tiles(timezone.now())}
