"""URLs of the platform's API."""

from django.urls import URLPattern, path

from stagenorm.portfolio.companies import FundCompanies
from stagenorm.portfolio.funds import Funds
from stagenorm.portfolio.simulations_views import Profiles, Simulate, SimulationDetail
from stagenorm.portfolio.strategies_views import Strategies, StrategyDetail
from stagenorm.portfolio.strategy_simulations import StrategySimulations

urlpatterns: list[URLPattern] = [
    path("api/funds", Funds.as_view(), name="funds"),
    path("api/funds/<int:fund_id>/companies", FundCompanies.as_view(), name="fund-companies"),
    path("api/monte-carlo/simulate", Simulate.as_view(), name="simulate"),
    path(
        "api/monte-carlo/simulations/<uuid:simulation_id>",
        SimulationDetail.as_view(),
        name="simulation",
    ),
    path("api/monte-carlo/profiles", Profiles.as_view(), name="profiles"),
    path("api/portfolio/strategies", Strategies.as_view(), name="strategies"),
    path("api/portfolio/strategies/<int:strategy_id>", StrategyDetail.as_view(), name="strategy"),
    path(
        "api/portfolio/strategies/<int:strategy_id>/simulations",
        StrategySimulations.as_view(),
        name="strategy-simulations",
    ),
]
