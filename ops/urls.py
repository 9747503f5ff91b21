"""Addresses of the operator's pages, the rollout for programs, and the webhook."""

from django.contrib import admin
from django.urls import URLPattern, path

from ops import rollout_api
from ops.alerts import webhook
from ops.pages.clients.client import client_page
from ops.pages.clients.listing import clients_page
from ops.pages.rollout.page import back_to_warn, rollout_page

urlpatterns: list[URLPattern] = [
    path("_ops/stage-validation/mode", rollout_api.RolloutModeView.as_view(), name="rollout-mode"),
    path("_ops/stage-validation/auto-downgrade", webhook.auto_downgrade, name="auto-downgrade"),
    path("_ops/stage-validation/heartbeat", webhook.heartbeat, name="heartbeat"),
    path("admin/ops/rollout/", admin.site.admin_view(rollout_page), name="ops-rollout"),
    path(
        "admin/ops/rollout/back-to-warn/",
        admin.site.admin_view(back_to_warn),
        name="ops-back-to-warn",
    ),
    path("admin/ops/rollout/clients/", admin.site.admin_view(clients_page), name="ops-clients"),
    path(
        "admin/ops/rollout/clients/client/", admin.site.admin_view(client_page), name="ops-client"
    ),
]
