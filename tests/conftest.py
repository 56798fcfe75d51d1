"""What holds for every test."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about what else this machine does. The examples
# are the same in every run, so that a change fails for what it changed; SPASSH_SEARCH=1
# looks for new ones.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not os.environ.get("SPASSH_SEARCH"),
)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory with what `scripts/package` builds."""
    from lab.packages import built

    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # It is the same for all who run tests at once.
    return built(base / "built")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "packages" in getattr(item, "fixturenames", ()):
            # The first of them builds the packages, or waits for whoever does.
            item.add_marker(pytest.mark.timeout(900))
