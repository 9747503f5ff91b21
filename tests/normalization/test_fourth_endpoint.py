"""Three lines give a new endpoint the whole boundary: headers, warnings, problems and counts."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.urls import path
from http_sf import parse as parse_structured_field
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.views import APIView

from normalization import decision_store, observations, rollout_store
from normalization.boundary import Boundary, open_boundary
from normalization.decision_warnings import DecisionVerdict
from normalization.models import ObservedSpelling, OutcomeTally
from normalization.problems import UnknownStage
from normalization.stages import Stage
from tests.decided import decide

SetMode = Callable[..., int]


class DealView(APIView):
    """Records the stage of a deal."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def post(self, request: Request) -> Response:
        """Answer what was understood."""
        boundary = open_boundary(request, endpoint="deals")
        raw = request.data["stage"]  # type: ignore[call-overload]
        results = boundary.check([raw], pointer=lambda _: "/stage")
        return boundary.respond({"stage": getattr(results[0], "stage", None)})


urlpatterns = [path("deals", DealView.as_view())]
pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


def post(stage: object, **headers: str) -> Any:
    return APIClient().post("/deals", {"stage": stage}, headers=headers)


def item(header: str) -> tuple[Any, dict[str, Any]]:
    """Parse a header as an RFC 9651 Item."""
    parsed: Any = parse_structured_field(header.encode(), tltype="item")
    return parsed[0], parsed[1]


def counted(mode: str, outcome: str) -> float:
    labels = {"endpoint": "deals", "mode": mode, "outcome": outcome}
    return REGISTRY.get_sample_value("stage_validation_requests_total", labels) or 0


@pytest.mark.parametrize(
    ("mode", "stage", "status", "outcome", "deprecated", "warned"),
    [
        ("off", "series-a", 200, "canonical", False, False),
        ("off", "SERIES_A", 200, "normalized", False, False),
        ("off", "Seires A", 200, "unknown", False, False),
        ("off", "Grant", 200, "outside", False, False),
        ("warn", "Grant", 200, "outside", True, True),
        ("enforce", "Grant", 400, "rejected", True, False),
        ("warn", "series-a", 200, "canonical", False, False),
        ("warn", "SERIES_A", 200, "normalized", True, False),
        ("warn", "Seires A", 200, "unknown", True, True),
        ("enforce", "series-a", 200, "canonical", False, False),
        ("enforce", "SERIES_A", 200, "normalized", True, False),
        ("enforce", "Seires A", 400, "rejected", True, False),
    ],
)
def test_mode_and_stage_decide_status_headers_warnings_and_count(
    set_mode: SetMode,
    mode: str,
    stage: str,
    status: int,
    outcome: str,
    deprecated: bool,
    warned: bool,
) -> None:
    version = set_mode(mode) if mode != "off" else 0
    decide("Grant", DecisionVerdict.OUTSIDE, "not equity")
    before = counted(mode, outcome)
    answer = post(stage)
    assert answer.status_code == status
    assert counted(mode, outcome) == before + 1
    is_outside = stage == "Grant"
    normalized = int(outcome == "normalized")
    unknown = int(outcome in {"unknown", "rejected"} and not is_outside)
    expected = f"{mode}; policy={version}; normalized={normalized}; unknown={unknown}"
    expected += "; outside=1" * is_outside
    assert answer["Stage-Validation"] == expected
    assert ("Deprecation" in answer, "Link" in answer, "Sunset" in answer) == (
        deprecated,
        deprecated,
        False,
    )
    assert ("warnings" in answer.json()) == warned
    observations.flush()
    assert OutcomeTally.objects.get().outcome == outcome
    assert ObservedSpelling.objects.count() == (outcome != "canonical")


def test_the_problem_of_an_unknown_stage_is_the_documented_one(set_mode: SetMode) -> None:
    version = set_mode("enforce")
    answer = post("Seires A")
    body = answer.json()
    assert answer["Content-Type"] == "application/problem+json"
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", body.pop("instance"))
    assert body == {
        "type": "/problems/unknown-stage",
        "title": "Unknown investment stage",
        "status": 400,
        "detail": "1 of 1 stage is not known.",
        "mode": "enforce",
        "policy_version": version,
        "errors": [
            {
                "pointer": "/stage",
                "code": "unknown_stage",
                "received": "Seires A",
                "suggestions": ["series-a"],
            }
        ],
        "valid_stages": [stage.value for stage in Stage],
    }


def test_an_outside_stage_is_refused_with_its_note_and_without_suggestions(
    set_mode: SetMode,
) -> None:
    decide("Seires A", DecisionVerdict.OUTSIDE, "a series that is not ours")
    set_mode("enforce")
    body = post("SEIRES A").json()
    assert (body["type"], body["detail"]) == (
        "/problems/unknown-stage",
        "1 of 1 stage is outside the six stages.",
    )
    assert body["errors"] == [
        {
            "pointer": "/stage",
            "code": "outside_stage",
            "received": "SEIRES A",
            "suggestions": [],
            "note": "a series that is not ours",
        }
    ]


def test_an_outside_stage_is_warned_of_in_warn(set_mode: SetMode) -> None:
    decide("Grant", DecisionVerdict.OUTSIDE, "not equity")
    set_mode("warn")
    answer = post("Grant")
    [warning] = answer.json()["warnings"]
    assert (warning["code"], warning["note"], warning["suggestions"]) == (
        "outside_stage",
        "not equity",
        [],
    )
    assert answer.json()["stage"] is None
    _, details = item(answer["Stage-Validation"])
    assert (details["unknown"], details["outside"]) == (0, 1)


def test_many_stages_are_judged_and_named_apart(set_mode: SetMode) -> None:
    decide("Grant", DecisionVerdict.OUTSIDE)
    set_mode("warn")
    request = APIView().initialize_request(APIRequestFactory().post("/deals", {}, format="json"))
    boundary = open_boundary(request, endpoint="deals")
    before = counted("warn", "unknown")
    boundary.check(["Grant", "x", *["Grant"] * 20], pointer=lambda i: f"/{i}")
    codes = Counter(warning["code"] for warning in boundary.warnings)
    assert codes == {"outside_stage": 16, "unknown_stage": 1, "more_outside_stages": 1}
    assert boundary.warnings[-1]["count"] == 5
    assert counted("warn", "unknown") == before + 1  # the worst outcome
    assert boundary.headers()["Stage-Validation"].endswith("unknown=1; outside=21")
    rehearsed = Boundary("deals", "c", rehearsal=True)
    with pytest.raises(UnknownStage) as refused:
        rehearsed.check(["Grant", "x", "seed"], pointer=lambda i: f"/{i}")
    assert refused.value.text == "1 of 3 stages is not known, 1 is outside the six stages."
    assert [each["pointer"] for each in refused.value.errors] == ["/0", "/1"]


def test_headers_are_structured_fields_and_sunset_never_precedes_deprecation(
    set_mode: SetMode,
) -> None:
    from datetime import UTC, datetime

    set_mode("warn", enforce_at=datetime(2020, 1, 1, tzinfo=UTC))
    answer = post("SERIES_A")
    deprecation, parameters = item(answer["Deprecation"])
    assert (deprecation, parameters) == (datetime(2026, 1, 1, tzinfo=UTC), {})
    assert answer["Deprecation"] == "@1767225600"
    assert answer["Sunset"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    mode, details = item(answer["Stage-Validation"])
    assert (str(mode), details["normalized"], details["unknown"]) == ("warn", 1, 0)
    set_mode("warn", enforce_at=datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert post("SERIES_A")["Sunset"] == "Thu, 31 Dec 2026 23:59:59 GMT"


@pytest.mark.parametrize(
    ("prefer", "status"),
    [
        ("stage-validation=enforce", 400),
        ('respond-async, Stage-Validation = "enforce"; because=x', 400),
        ("stage-validation=warn", 200),
        ("xstage-validation=enforce", 200),
        ("", 200),
    ],
)
def test_a_client_may_rehearse_enforcement_and_is_told_so(
    set_mode: SetMode, prefer: str, status: int
) -> None:
    set_mode("warn")
    enforced, warned = counted("enforce", "rejected"), counted("warn", "rejected")
    answer = post("Seires A", prefer=prefer)
    assert answer.status_code == status
    assert ("Preference-Applied" in answer) == (status == 400)
    # Counted under the mode in force, so that rehearsals cannot set off the automatic way back.
    assert counted("enforce", "rejected") == enforced
    assert counted("warn", "rejected") == warned + (status == 400)


def test_an_operator_alias_is_known_at_the_boundary(set_mode: SetMode) -> None:
    set_mode("enforce")
    assert post("Angel").status_code == 400
    decide("angel", Stage.PRE_SEED)
    decision_store.forget()
    answer = post("Angel")
    assert (answer.status_code, answer.json()) == (200, {"stage": "pre-seed"})


@given(stage=st.text() | st.none() | st.integers() | st.lists(st.text(), max_size=2))
def test_no_client_text_reaches_a_header_and_the_headers_stay_small(stage: object) -> None:
    rollout_store.forget()
    request = APIRequestFactory().post("/deals", {"stage": "x"}, format="json")
    boundary = open_boundary(APIView().initialize_request(request), endpoint="deals")
    boundary.check([stage], pointer=lambda _: "/stage")
    text = "".join(name + value for name, value in boundary.headers().items())
    assert text.isascii()
    assert len(text) < 1024
    assert re.fullmatch(
        r"off; policy=0; normalized=[01]; unknown=[01]", boundary.headers()["Stage-Validation"]
    )


def test_ten_thousand_spellings_make_no_new_metric_series(set_mode: SetMode) -> None:
    set_mode("warn")

    def series() -> set[tuple[tuple[str, str], ...]]:
        samples = [
            s
            for family in REGISTRY.collect()
            if family.name == "stage_validation_requests"
            for s in family.samples
        ]
        return {tuple(sorted(s.labels.items())) for s in samples}

    post("first"), post("seed"), post("Seed")
    before = series()
    request = APIView().initialize_request(APIRequestFactory().post("/deals", {}, format="json"))
    for n in range(10_000):
        open_boundary(request, endpoint="deals").check([f"junk {n}"], pointer=lambda _: "/stage")
    assert series() == before
