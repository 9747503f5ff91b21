"""`/api/schema`: the OpenAPI document, generated once in each process.

Generating and rendering it takes most of a second, and anyone may ask for it. The document depends
on the code alone, so each process keeps the bytes of every representation it was asked for.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response


class RenderedSchema(NamedTuple):
    """One representation of the document."""

    content: bytes
    headers: dict[str, str]


class SchemaView(SpectacularAPIView):
    """The OpenAPI document as YAML or JSON, by the `Accept` header."""

    _rendered: ClassVar[dict[type, RenderedSchema]] = {}

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the document in the representation that was negotiated."""
        renderer = type(request.accepted_renderer)
        held = self._rendered.get(renderer)
        if held is None:
            held = self._rendered[renderer] = self._render(request)
        return HttpResponse(held.content, headers=held.headers)

    def _render(self, request: Request) -> RenderedSchema:
        response: Response = self._get_schema_response(request)  # type: ignore[no-untyped-call]
        response.accepted_renderer = request.accepted_renderer
        response.accepted_media_type = request.accepted_media_type
        response.renderer_context = self.get_renderer_context()  # type: ignore[attr-defined]
        response.render()
        return RenderedSchema(response.content, dict(response.items()))

    def _get_version_parameter(self, request: Request) -> None:
        return None  # the document has one version, and ?version= must not generate another
