"""The URL configuration of the whole service."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, reverse_lazy
from django.utils.functional import lazy
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerSplitView

from normalization.problems import safe_only
from ops.exporter import metrics
from stagenorm.health import healthz, readyz
from stagenorm.schema import SchemaView

admin.autodiscover()
admin.site.site_header = admin.site.site_title = "stagenorm"
admin.site.index_title = "Operations"
admin.site.enable_nav_sidebar = False  # it takes 40 % of a tablet; the console has its own links
admin.site.site_url = reverse_lazy("api-docs")  # type: ignore[assignment] # lazy text

# At the request: the names of static files are not known before `collectstatic`.
_icon = lazy(static, str)

# Swagger UI is an HTML page: it has no OPTIONS description to render.
_docs = SpectacularSwaggerSplitView.as_view(url_name="schema", http_method_names=["get", "head"])

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="api-docs")),
    path("", include("normalization.urls")),
    path("", include("stagenorm.portfolio.urls")),
    path("", include("ops.urls")),
    path("admin/", admin.site.urls),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", _docs, name="api-docs"),
    # Browsers ask for it beside pages that name no icon, such as a JSON answer.
    path("favicon.ico", RedirectView.as_view(url=_icon("ops/icon-off.svg"))),
    path("healthz", safe_only(healthz), name="healthz"),
    path("readyz", safe_only(readyz), name="readyz"),
    path("metrics", safe_only(metrics), name="metrics"),
]

handler400 = "stagenorm.error_pages.bad_request"
handler403 = "stagenorm.error_pages.permission_denied"
handler404 = "stagenorm.error_pages.page_not_found"
handler500 = "stagenorm.error_pages.server_error"
