"""Django's middleware for pages, which requests to the API skip.

The API has no sessions, forms or messages: it authenticates by a key in a header. Its answers have
the same Content-Security-Policy as the pages, built once. `/api/docs` is a page, and so are
`/admin/` and `/_ops/`, where staff use their session. Django's protection of forms stays as it is
for every request: it costs little, and Django's deploy checks look for it by name.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from csp.constants import HEADER
from csp.middleware import CSPMiddleware
from csp.utils import build_policy
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser


def is_api(request: HttpRequest) -> bool:
    """Return whether the request is to the API, and not to a page."""
    path = request.path_info
    return path.startswith("/api/") and not path.startswith("/api/docs")


class _ForPages(MiddlewareMixin):
    """Calls the middleware that it is mixed into for pages only."""

    def __call__(self, request: HttpRequest) -> Any:
        if is_api(request):
            return self.get_response(request)
        return super().__call__(request)


class PageSessions(_ForPages, SessionMiddleware):
    """Sessions, for pages."""


class PageMessages(_ForPages, MessageMiddleware):
    """Messages, for pages."""


class PageAuthentication(_ForPages, AuthenticationMiddleware):
    """The user of the session, for pages. The API starts with an anonymous user."""

    def __call__(self, request: HttpRequest) -> Any:
        if is_api(request):
            request.user = _anonymous()
        return super().__call__(request)


class PagePolicy(CSPMiddleware):
    """Content-Security-Policy: with a nonce where a page uses one, constant in the API."""

    def __call__(self, request: HttpRequest) -> Any:
        if not is_api(request):
            return super().__call__(request)
        response: Any = self.get_response(request)
        response.headers.setdefault(HEADER, _policy())
        return response


@cache
def _policy() -> str:
    return str(build_policy())


@cache
def _anonymous() -> AnonymousUser:
    from django.contrib.auth.models import AnonymousUser  # needs the apps to be ready

    return AnonymousUser()
