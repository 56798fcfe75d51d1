"""What holds for every test, and in which order and where they run."""

import os
import signal
from collections.abc import Sequence
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

_WAITING = (_TESTS / "e2e", _TESTS / "firewall")
"""Where tests wait most of their time: for packets, and for what expires.

The others compute. That there is always something of both, their files are mixed; but
a fifth of those that compute, which are short, is left for the end.
"""

_LONG = (
    _TESTS / "e2e/test_debian_root.py",
    _TESTS / "e2e/test_packages.py",
    _TESTS / "e2e/test_faults.py",
    _TESTS / "e2e/test_apparmor.py",
    _TESTS / "e2e/test_service.py",
)
"""Files that come first, so that no processor has nothing to do at the end.

Their tests share nothing that is expensive, but what is made once for all files.
"""


def _places(paths: Sequence[Path]) -> dict[Path, float]:
    """Return for each file when it begins: those of `_LONG`, then from 0 to 1."""
    files = [*dict.fromkeys(paths)]
    waiting = [one for one in files if any(one.is_relative_to(top) for top in _WAITING)]
    computing = [one for one in files if one not in waiting]
    places = {one: 0.8 * at / len(waiting) for at, one in enumerate(waiting)}
    places |= {one: at / len(computing) for at, one in enumerate(computing)}
    long = [one for one in _LONG if one in places]
    return places | {one: at - len(long) for at, one in enumerate(long)}


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    places = _places([item.path for item in items])
    items.sort(key=lambda item: places[item.path])
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
            return nodeid if _TESTS.parent / path in _LONG else path

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None
