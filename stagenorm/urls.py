"""Every address the service answers."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from ops.exporter import metrics
from stagenorm.health import healthz, readyz

admin.site.site_header = admin.site.site_title = "stagenorm"
admin.site.index_title = "Operations"
admin.site.site_url = "/api/docs"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="api-docs")),
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
