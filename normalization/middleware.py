"""Middleware that writes the observations of finished requests."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from normalization import observations


class FlushObservations:
    """Writes the process's observations after a request if they are older than five seconds."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        observations.flush_if_due()
        return response
