"""What holds for every test."""

from hypothesis import HealthCheck, settings

# How long an example takes says more about what else this machine does.
settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")
