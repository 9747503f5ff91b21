"""The operator's addresses."""

from django.urls import URLPattern, path

from ops.alerts import webhook

urlpatterns: list[URLPattern] = [
    path("_ops/stage-validation/auto-downgrade", webhook.auto_downgrade, name="auto-downgrade"),
    path("_ops/stage-validation/heartbeat", webhook.heartbeat, name="heartbeat"),
]
