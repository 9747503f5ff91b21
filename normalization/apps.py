from django.apps import AppConfig


class NormalizationConfig(AppConfig):
    name = "normalization"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from normalization.checks import register

        register()
