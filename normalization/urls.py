"""Addresses of the normalizer app."""

from django.urls import path

from normalization import stages_views, views

urlpatterns = [
    path("api/deprecations", views.DeprecationsView.as_view(), name="deprecations"),
    path("api/stages", stages_views.StagesView.as_view(), name="stages"),
    path(
        "api/stages/normalize",
        stages_views.NormalizeStages.as_view(),
        name="normalize-stages",
    ),
    path("problems/<slug:slug>", views.problem_page, name="problem"),
]
