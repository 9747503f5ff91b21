"""Who is an operator."""

from __future__ import annotations

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView


class IsOperator(BasePermission):
    """Lets in a staff member's session, and an API key that is marked as an operator's.

    The key's model is another app's, which this one does not import: what counts is its attribute `operator`.
    """

    message = (
        "This is for operators: a staff session, or a key made with create_api_key --operator."
    )

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the caller is one."""
        if request.auth is not None:
            may_write = request.method in SAFE_METHODS or not getattr(
                request.auth, "read_only", False
            )
            return bool(getattr(request.auth, "operator", False)) and may_write
        return request.user.is_active and request.user.is_staff
