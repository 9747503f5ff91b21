from django.apps import AppConfig


class PortfolioConfig(AppConfig):
    name = "stagenorm.portfolio"
    label = "portfolio"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from stagenorm import session_checks
        from stagenorm.portfolio import checks

        checks.register()
        session_checks.register()
