from django.apps import AppConfig


class NormalizationConfig(AppConfig):
    name = "normalization"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks; a web process exports its counters from its first moment."""
        from django.conf import settings

        from normalization import metrics
        from normalization.checks import register

        register()
        if settings.SERVES_REQUESTS:
            metrics.begin_at_zero(settings.STAGE_ENDPOINTS)
