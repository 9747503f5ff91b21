"""`{% operator_strip %}`: the state of the platform in a line, above the admin's list of apps."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone

from ops.pages.home import tiles

register = template.Library()


@register.inclusion_tag("admin/ops/rollout_strip.html")
def operator_strip() -> dict[str, Any]:
    """Return the tiles for the template."""
    return {"tiles": tiles(timezone.now())}
