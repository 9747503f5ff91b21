"""The settings of the service, with the URLs of `tests.benchmarks.served`."""

from stagenorm.settings import *  # noqa: F403  settings are defined by their names

ROOT_URLCONF = "tests.benchmarks.served"
SIMULATE_THROTTLE = ""
