"""Addresses of the normalizer app."""

from django.urls import path

from normalization import views

urlpatterns = [
    path("api/deprecations", views.DeprecationsView.as_view(), name="deprecations"),
    path("problems/<slug:slug>", views.problem_page, name="problem"),
]
