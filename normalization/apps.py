from django.apps import AppConfig


class NormalizationConfig(AppConfig):
    name = "normalization"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system and readiness checks; start a web process's counters at 0."""
        from django.conf import settings

        from normalization import checks, metrics, readiness

        checks.register()
        readiness.register()
        if settings.SERVES_REQUESTS:
            metrics.begin_at_zero(settings.STAGE_ENDPOINTS)
