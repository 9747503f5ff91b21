"""Every address the service answers."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from ops.exporter import metrics
from stagenorm.health import healthz, readyz

urlpatterns = [
    path("", include("normalization.urls")),
    path("", include("stagenorm.portfolio.urls")),
    path("", include("ops.urls")),
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="api-docs"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]

handler400 = "normalization.problems.bad_request"
handler403 = "normalization.problems.permission_denied"
handler404 = "normalization.problems.page_not_found"
handler500 = "normalization.problems.server_error"
