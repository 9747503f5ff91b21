"""The normalizer app's own pages: deprecated spellings, and one page for each kind of problem."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization import decision_store, deprecations, rollout_store
from normalization.problems import CATALOGUE, VALID_STAGES
from normalization.rendering import FastJSONRenderer
from normalization.rollout import Mode
from normalization.serializers import header, problem_responses


class DeprecatedSpellingSerializer(serializers.Serializer[Any]):
    """A spelling, folded, that clients should replace by its stage."""

    spelling = serializers.CharField()
    stage = serializers.ChoiceField(VALID_STAGES)
    since = serializers.DateTimeField()


class OutsideSpellingSerializer(serializers.Serializer[Any]):
    """A spelling, folded, that was decided to be none of the six stages, and why."""

    spelling = serializers.CharField(allow_blank=True)
    kind = serializers.CharField(allow_blank=True)
    note = serializers.CharField(allow_blank=True)
    since = serializers.DateTimeField()


class UsageSerializer(serializers.Serializer[Any]):
    """What the calling client sent that was not canonical; `stage` is null where it meant none."""

    spelling = serializers.CharField()
    stage = serializers.ChoiceField(
        VALID_STAGES, allow_null=True, help_text="The stage that it was when it came, or null."
    )
    status = serializers.ChoiceField(deprecations.STAGE_STATUSES, help_text="Today.")
    send_instead = serializers.ChoiceField(
        VALID_STAGES, allow_null=True, help_text="The stage that it is today."
    )
    suggestions = serializers.ListField(
        child=serializers.ChoiceField(VALID_STAGES),
        help_text="What an undecided text probably meant.",
    )
    endpoint = serializers.CharField()
    count = serializers.IntegerField()
    first_seen = serializers.DateTimeField()
    last_seen = serializers.DateTimeField()


class DeprecationsSerializer(serializers.Serializer[Any]):
    """Deprecated spellings, when they end, where they are checked, and the caller's own use."""

    mode = serializers.ChoiceField([mode.value for mode in Mode])
    enforce_at = serializers.DateTimeField(allow_null=True)
    valid_stages = serializers.ListField(child=serializers.ChoiceField(VALID_STAGES))
    endpoints = serializers.DictField(child=serializers.CharField())
    folding = serializers.CharField(
        help_text="Address of the rule by which `spelling` was folded, for people and programs."
    )
    deprecated = DeprecatedSpellingSerializer(many=True)
    outside = OutsideSpellingSerializer(many=True)
    your_usage = UsageSerializer(many=True)


class DeprecationsView(APIView):
    """`GET /api/deprecations`: JSON for programs, a page for browsers.

    With a key, the answer also has the caller's own use.
    """

    permission_classes = (AllowAny,)
    renderer_classes = (FastJSONRenderer, TemplateHTMLRenderer)

    @extend_schema(
        operation_id="deprecations",
        summary="Deprecated stage spellings",
        tags=["stages"],
        description=(
            "Lists every spelling that clients should replace, and every spelling that is none of "
            "the six stages. With a key, also what the caller itself sent, counted from its "
            "newest 20,000 records of a day and spelling. Requests without a key are limited "
            "for each address."
        ),
        parameters=[
            OpenApiParameter("If-None-Match", OpenApiTypes.STR, OpenApiParameter.HEADER),
            header("ETag", "Changes when the answer does.", [200, 304]),
        ],
        responses={
            (200, "application/json"): DeprecationsSerializer,
            (200, "text/html"): OpenApiTypes.STR,
            304: OpenApiResponse(description="Nothing changed since the ETag sent."),
            **problem_responses(401, 429),
        },
    )
    def get(self, request: Request) -> HttpResponse:
        """Return the listing, or 304 if the caller has it already."""
        client = getattr(request.auth, "name", None)
        table = decision_store.current()
        found = deprecations.listing(rollout_store.current().rollout, table)
        if client is None:
            return _answer(request, found.body, found.etag, found.rendered)
        body = {**found.body, "your_usage": deprecations.usage(client, table)}
        return _answer(request, body, deprecations.weak_etag(body))

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the description in JSON, for any Accept header: it has no page."""
        request.accepted_renderer = FastJSONRenderer()
        return super().options(request, *args, **kwargs)


def _answer(
    request: Request, body: dict[str, Any], etag: str, rendered: bytes | None = None
) -> HttpResponse:
    """Return 304, or the body as the caller accepts it; `rendered` is the body as JSON."""
    headers = {
        "ETag": etag,
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Authorization",
    }
    if etag_matches(request.headers.get("If-None-Match", ""), etag):
        return Response(status=304, headers=headers)
    json_type = request.accepted_media_type
    if rendered is not None and json_type == FastJSONRenderer.media_type:
        return HttpResponse(rendered, content_type=json_type, headers=headers)
    return Response(body, headers=headers, template_name="deprecations.html")


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Return whether the header If-None-Match names the entity tag."""
    # RFC 9110, section 13.1.2: weak comparison, a list or "*".
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


def problem_page(request: HttpRequest, slug: str) -> HttpResponse:
    """Serve the page that a problem's `type` points to."""
    if slug not in CATALOGUE:
        raise Http404
    title, advice = CATALOGUE[slug]
    return render(request, "problem.html", {"slug": slug, "title": title, "advice": advice})
