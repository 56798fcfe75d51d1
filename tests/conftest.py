"""What holds for every test, and in which order and where they run."""

import os
import signal
from pathlib import Path
from typing import Any

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


# A shell has programs in the background ignore these, and so does nohup(1). Programs
# that a test starts, and then interrupts, would as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory with what `scripts/package` builds."""
    from lab.packages import built

    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # It is the same for all who run tests at once.
    return built(base / "built")


_TESTS = Path(__file__).parent

_LONG = (
    "e2e/test_debian_root.py",
    "e2e/test_packages.py",
    "e2e/test_faults.py",
    "e2e/test_apparmor.py",
    "e2e/test_service.py",
)
"""Files that come first, so that no processor has nothing to do at the end.

Their tests share nothing that is expensive, but what is made once for all files.
"""


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    places = {_TESTS / name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
    measures = config.pluginmanager.hasplugin("_cov")
    for item in items:
        wants_packages = "packages" in getattr(item, "fixturenames", ())
        if wants_packages and item.get_closest_marker("timeout") is None:
            # The first of them builds the packages, or waits for whoever does.
            item.add_marker(pytest.mark.timeout(900))
        if measures and not item.path.is_relative_to(_TESTS / "unit"):
            # What others cover does not count, and to measure it takes time.
            item.add_marker(pytest.mark.no_cover)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have the tests of a file run in one process, but those of `_LONG` in any."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return nodeid if path.removeprefix("tests/") in _LONG else path

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None
