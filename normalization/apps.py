from django.apps import AppConfig


class NormalizationConfig(AppConfig):
    name = "normalization"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks and what /readyz asks."""
        from normalization import checks, readiness

        checks.register()
        readiness.register()
