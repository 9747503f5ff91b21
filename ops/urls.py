"""The operator's addresses."""

from django.contrib import admin
from django.urls import URLPattern, path

from ops import rollout_admin, rollout_api

urlpatterns: list[URLPattern] = [
    path("_ops/stage-validation/mode", rollout_api.RolloutModeView.as_view(), name="rollout-mode"),
    path("admin/ops/rollout/", admin.site.admin_view(rollout_admin.rollout_page), name="ops-rollout"),
]
