"""Content negotiation of the API: which `Accept` headers are served.

Every operation answers JSON, and errors as `application/problem+json`. A client that accepts only
problem documents, as generated clients of an operation without a body do, is served too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from normalization.problems import CONTENT_TYPE


class ServedNegotiation(DefaultContentNegotiation):
    """Falls back to the view's first renderer where the answer does not depend on `Accept`.

    That is a DELETE, whose answer has no body, and an `Accept` that names problem documents.
    """

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """Return a renderer and its media type; raise `NotAcceptable` (406) for other types."""
        served = list(renderers)
        usual = ("", "*/*", served[0].media_type)
        if request.META.get("HTTP_ACCEPT", "") in usual and format_suffix is None:
            return served[0], str(served[0].media_type)
        try:
            chosen: tuple[BaseRenderer, str] = super().select_renderer(
                request, served, format_suffix
            )
        except NotAcceptable:
            accepted = [each.partition(";")[0].strip() for each in self.get_accept_list(request)]
            if request.method == "DELETE" or CONTENT_TYPE in map(str.lower, accepted):
                return served[0], str(served[0].media_type)
            raise
        return chosen

    def get_accept_list(self, request: Request) -> list[str]:
        """Return the accepted types; an empty `Accept` accepts everything, as a missing one."""
        accepted: list[Any] = super().get_accept_list(request)
        return accepted if any(accepted) else ["*/*"]
