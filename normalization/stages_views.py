"""`/api/stages`: the six stages, and what texts mean, for clients that repair their own data.

Neither operation is counted as traffic of an endpoint with a boundary: a client that looks its
spellings up here sends no stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization import decision_store, folding
from normalization.deprecations import STAGE_STATUSES, meaning_on_the_wire, weak_etag
from normalization.problems import VALID_STAGES
from normalization.serializers import (
    StrictCharField,
    StrictSerializer,
    header,
    parse,
    problem_responses,
)
from normalization.stages import Stage, normalize_all
from normalization.views import etag_matches

MOST_SPELLINGS: Final = 1_000
LONGEST_TEXT: Final = 2_000

LABELS: Final[Mapping[Stage, str]] = {
    Stage.PRE_SEED: "Pre-Seed",
    Stage.SEED: "Seed",
    Stage.SERIES_A: "Series A",
    Stage.SERIES_B: "Series B",
    Stage.SERIES_C: "Series C",
    Stage.SERIES_C_PLUS: "Series C+",
}
"""What a person reads for a stage."""


class StageSerializer(serializers.Serializer[Any]):
    """One of the six stages."""

    stage = serializers.ChoiceField(VALID_STAGES)
    label = serializers.CharField(help_text="For people.")  # type: ignore[assignment]
    position = serializers.IntegerField(help_text="0 for the earliest stage.")


class FoldingSerializer(serializers.Serializer[Any]):
    """How spellings are compared: two texts with equal folded forms mean the same."""

    in_words = serializers.CharField()
    unicode_version = serializers.CharField(help_text="Of the character data that is used.")
    longest = serializers.IntegerField(help_text="Longer texts are undecided.")
    steps = serializers.ListField(
        child=serializers.DictField(), help_text="To be carried out in order on a text."
    )


class StagesSerializer(serializers.Serializer[Any]):
    """The six stages in order, and the folding rule."""

    stages = StageSerializer(many=True)
    folding = FoldingSerializer()
    decisions_version = serializers.IntegerField(
        help_text="Increases with each change of the decisions about spellings."
    )


class SpellingsSerializer(StrictSerializer):
    """Texts to look up."""

    spellings = serializers.ListField(
        child=StrictCharField(max_length=LONGEST_TEXT, allow_blank=True),
        min_length=1,
        max_length=MOST_SPELLINGS,
    )


class MeaningSerializer(serializers.Serializer[Any]):
    """What one text means today."""

    received = serializers.CharField(allow_blank=True)
    status = serializers.ChoiceField(
        STAGE_STATUSES, help_text="Enforcement refuses all but `known`."
    )
    stage = serializers.ChoiceField(
        VALID_STAGES, allow_null=True, help_text="Send this instead. Null unless `known`."
    )
    canonical = serializers.BooleanField(help_text="Whether the text is the stage's own name.")
    suggestions = serializers.ListField(
        child=serializers.ChoiceField(VALID_STAGES),
        help_text="What an undecided text probably meant. A person should decide.",
    )
    note = serializers.CharField(
        allow_blank=True, help_text="Why a text is outside the six stages."
    )


class MeaningsSerializer(serializers.Serializer[Any]):
    """What the texts mean, in the order of the request."""

    decisions_version = serializers.IntegerField()
    results = MeaningSerializer(many=True)


class StagesView(APIView):
    """`GET /api/stages`."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="list_stages",
        summary="The six stages and the folding rule",
        description=(
            "Needs no key. The folding rule is given in words and as steps, so that a program can "
            "find its own spellings in `/api/deprecations`."
        ),
        tags=["stages"],
        auth=[],
        parameters=[
            OpenApiParameter("If-None-Match", OpenApiTypes.STR, OpenApiParameter.HEADER),
            header("ETag", "Changes when the answer does.", [200, 304]),
        ],
        responses={
            200: StagesSerializer,
            304: OpenApiResponse(description="Nothing changed since the ETag sent."),
            **problem_responses(429),
        },
    )
    def get(self, request: Request) -> Response:
        """Return the stages, or 304 if the caller has them already."""
        version = decision_store.current().version
        etag = _etag_of(version)
        headers = {"ETag": etag, "Cache-Control": "public, no-cache"}
        if etag_matches(request.headers.get("If-None-Match", ""), etag):
            return Response(status=304, headers=headers)
        return Response(_listing() | {"decisions_version": version}, headers=headers)


class NormalizeStages(APIView):
    """`POST /api/stages/normalize`."""

    throttle_scope = "stages-normalize"
    only_reads = True
    """A read-only key may use it: the request stores nothing."""

    @extend_schema(
        operation_id="normalize_stages",
        summary="What texts mean",
        description=(
            f"Looks up to {MOST_SPELLINGS:,} texts up and stores nothing. To repair stored data, "
            "replace each `known` text by its `stage`. `outside` and `undecided` texts are "
            "refused in mode enforce."
        ),
        tags=["stages"],
        request=SpellingsSerializer,
        responses={200: MeaningsSerializer, **problem_responses(400, 401, 413, 415, 429)},
        examples=[
            OpenApiExample(
                "Three texts",
                value={"spellings": ["Series A", "Seires A", "Grant"]},
                request_only=True,
            ),
            OpenApiExample(
                "Their meanings",
                value={
                    "decisions_version": 17,
                    "results": [
                        {
                            "received": "Series A",
                            "status": "known",
                            "stage": "series-a",
                            "canonical": False,
                            "suggestions": [],
                            "note": "",
                        },
                        {
                            "received": "Seires A",
                            "status": "undecided",
                            "stage": None,
                            "canonical": False,
                            "suggestions": ["series-a"],
                            "note": "",
                        },
                        {
                            "received": "Grant",
                            "status": "outside",
                            "stage": None,
                            "canonical": False,
                            "suggestions": [],
                            "note": "A grant is not an equity round.",
                        },
                    ],
                },
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """Return the meaning of each text, in order."""
        spellings = parse(SpellingsSerializer, request.data)["spellings"]
        table = decision_store.current()
        results = [
            {"received": raw, **meaning_on_the_wire(meaning)}
            for raw, meaning in zip(spellings, normalize_all(spellings, table), strict=True)
        ]
        return Response({"decisions_version": table.version, "results": results})


@cache
def _listing() -> dict[str, Any]:
    return {
        "stages": [
            {"stage": stage.value, "label": LABELS[stage], "position": stage.position}
            for stage in Stage
        ],
        "folding": folding.describe(),
    }


@cache
def _etag_of_rule() -> str:
    return weak_etag(_listing())


def _etag_of(version: int) -> str:
    return f'{_etag_of_rule().removesuffix(chr(34))}-{version}"'
