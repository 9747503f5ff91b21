"""`/_ops/stage-validation/mode`: the rollout for programs.

Operators read it everywhere and change it outside production. People use the admin or
`manage.py stage_mode`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from django.db import Error as StoreError
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization import conf, instances, rollout_store
from normalization.issue_codes import IssueCode, issue
from normalization.problems import Problem, invalid
from normalization.rollout import Mode, Rollout, RolloutInvalid
from normalization.serializers import StrictCharField, StrictIntegerField, StrictSerializer, parse
from stagenorm.sessions import condition

CHANGE: Final = "normalization.add_rolloutchange"
MODES: Final = [mode.value for mode in Mode]
INSTEAD: Final = (
    "In production the mode cannot be set over HTTP. On the server use "
    'manage.py stage_mode set {mode} --reason "…", or the admin at /admin/ops/rollout/.'
)


class IsOperator(BasePermission):
    """Allows the session of a staff member, and an API key of an operator.

    A change with a session needs the permission to change the rollout, as the pages do.

    The model of keys belongs to another app. Only its attributes `operator` and `read_only` count.
    """

    message = (
        "This is for operators: use a key of create_api_key --operator, or a staff session. "
        "A change needs the permission to change the rollout."
    )

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the caller may use this method."""
        if request.auth is None:
            staff = request.user.is_active and request.user.is_staff
            return staff and (request.method in SAFE_METHODS or request.user.has_perm(CHANGE))
        read_only = getattr(request.auth, "read_only", False)
        allowed = request.method in SAFE_METHODS or not read_only
        return bool(getattr(request.auth, "operator", False)) and allowed


class RolloutBody(StrictSerializer):
    """The changes and their reason. Absent members keep their value."""

    mode = serializers.ChoiceField(MODES)
    enforce_percent = serializers.DecimalField(5, 2, min_value=0, max_value=100, required=False)
    pilots = serializers.ListField(
        child=StrictCharField(max_length=100), max_length=1_000, required=False
    )
    holdouts = serializers.ListField(
        child=StrictCharField(max_length=100), max_length=1_000, required=False
    )
    overrides = serializers.DictField(child=serializers.ChoiceField(MODES), required=False)
    enforce_at = serializers.DateTimeField(allow_null=True, required=False)
    reason = StrictCharField(max_length=500)
    gate_overrides = serializers.DictField(child=StrictCharField(max_length=500), required=False)
    expected_version = StrictIntegerField(min_value=0, required=False)


class RolloutModeView(APIView):
    """`GET` and `PUT` of the rollout."""

    authentication_classes = (*APIView.authentication_classes, SessionAuthentication)
    permission_classes = (IsOperator,)

    @extend_schema(exclude=True)  # not for the API's consumers
    def get(self, request: Request) -> Response:
        """Return the rollout in the database, its last change, and each instance's version."""
        try:
            snapshot = rollout_store.newest()
            change = rollout_store.since(snapshot.version)
            reported = [one._asdict() for one in instances.serving()]
        except StoreError as error:
            raise _unavailable(error) from error
        body: dict[str, Any] = {"version": snapshot.version, **snapshot.rollout.to_wire()}
        if change is not None:
            body |= {"since": change.created_at, "actor": change.actor, "source": change.source}
            body |= {"reason": change.reason}
        return Response({**body, "instances": reported}, headers=_NOT_KEPT)

    @extend_schema(exclude=True)
    def put(self, request: Request) -> Response:
        """Change the rollout; 403 in production."""
        if conf.production():
            given = request.data.get("mode") if isinstance(request.data, Mapping) else None
            mode = given if given in MODES else "warn"
            raise Problem("forbidden", status=403, detail=INSTEAD.format(mode=mode))
        given = parse(RolloutBody, request.data)
        result = _change(given, request)
        body = {
            "version": result.version,
            "changed": result.changed,
            "spread": result.spread.name.lower(),
        }
        return Response({**body, **result.rollout.to_wire()}, headers=_NOT_KEPT)


def _change(given: Mapping[str, Any], request: Request) -> rollout_store.ChangeResult:
    try:
        return rollout_store.change(
            lambda rollout: _with(rollout, given),
            actor=str(getattr(request.auth, "name", None) or request.user.get_username()),
            source="api",
            reason=given["reason"],
            expected_version=given.get("expected_version"),
            gate_overrides=given.get("gate_overrides"),
        )
    except RolloutInvalid as error:
        raise invalid([issue("", IssueCode.INVALID, detail=str(error))]) from error
    except rollout_store.ChangeRefused as error:
        raise Problem("conflict", status=409, detail=str(error)) from error
    except StoreError as error:
        raise _unavailable(error) from error


def _with(rollout: Rollout, given: Mapping[str, Any]) -> Rollout:
    changed = {name: given[name] for name in ("enforce_percent", "enforce_at") if name in given}
    changed |= {name: frozenset(given[name]) for name in ("pilots", "holdouts") if name in given}
    if "overrides" in given:
        changed["overrides"] = {name: Mode(mode) for name, mode in given["overrides"].items()}
    return replace(rollout, mode=Mode(given["mode"]), **changed)


def _unavailable(error: StoreError) -> Problem:
    detail = f"The database {condition(error)}. Nothing was changed."
    return Problem("unavailable", status=503, detail=detail, headers={"Retry-After": "1"})


_NOT_KEPT: Final = {"Cache-Control": "no-store"}
