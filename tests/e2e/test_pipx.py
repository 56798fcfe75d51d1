"""The client as pipx installs it, with the newest libraries that there are."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside import port_answers
from lab.network import SERVER4, run
from lab.programs import RELAY, Client

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]


@pytest.fixture(scope="module")
def pipx(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where pipx has put what the wheel has, and nothing of this checkout."""
    if shutil.which("pipx") is None:
        pytest.skip("pipx is missing: scripts/test installs it")
    home = tmp_path_factory.mktemp("pipx")
    (wheel,) = packages.glob("spassh-*.whl")
    places = {"PIPX_HOME": str(home / "home"), "PIPX_BIN_DIR": str(home / "bin")}
    argv = ["pipx", "install", "--python", "/usr/bin/python3", str(wheel)]
    run(argv, env={**os.environ, **places}, timeout=150)
    return home


@pytest.fixture
def client(lab: Lab, pipx: Path) -> Iterator[Client]:
    spasshd = lab.spasshd("--protect", "tcp/22")
    spasshd.start()
    made = lab.client(spasshd)
    made.environment["PATH"] = f"{pipx}/bin:{made.environment['PATH']}"
    yield made
    spasshd.running.stop()
    spasshd.verb("stop", "--open", check=False)


def test_the_proxy_command_lets_in(lab: Lab, client: Client, pipx: Path) -> None:
    assert client.run("sh", "-c", "command -v spassh").stdout == f"{pipx}/bin/spassh\n"
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)
    for how in ((), RELAY):
        said = client.ssh(*how, "v4.server.test", "echo through").stdout
        assert said == "through\n"


def test_its_libraries_are_the_newest(pipx: Path) -> None:
    """They came from the index, and not from this machine's Debian."""
    environment = pipx / "home" / "venvs" / "spassh"
    said = run([str(environment / "bin" / "python"), "-m", "pip", "list", "--outdated"])
    assert "cryptography" not in said.stdout
    (found,) = environment.glob("lib/python3*/site-packages/cryptography-*.dist-info")
    assert found.is_dir()
