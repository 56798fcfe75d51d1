"""Invites that are sealed and shown on real terminals, on both stacks of libraries."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.network import SERVER_NAME
from unit.server.test_qr import scanned

from .conftest import Lab
from .test_enroll import Home

pytestmark = [pytest.mark.login, pytest.mark.netns]

PASSPHRASE = "correct horse"  # noqa: S105 - of a test


@pytest.mark.parametrize("stack", ["pypi", "debian"])
def test_a_sealed_invite_goes_from_terminal_to_terminal(
    make_lab: Callable[[str], Lab], stack: str, tmp_path: Path
) -> None:
    lab = make_lab(stack)
    hidden = lab.path("client-etc")
    os.mkdir(hidden)
    lab.client_host.own_etc(hidden)
    spasshd = lab.spasshd("--protect", "tcp/22")
    client = Home(lab, lab.sshd.user_key)
    words = ("spasshd", "user", "add", "alice", "--address", SERVER_NAME)
    status, said = client.converse(
        *(*words, "--passphrase", "--qr", "--config", spasshd.config),
        answers={
            "passphrase for the invite: ": PASSPHRASE,
            "the same once more: ": PASSPHRASE,
        },
    )
    assert status == 0, said
    assert PASSPHRASE not in said
    lines = said.replace("\r\n", "\n").splitlines()
    (invite,) = [line for line in lines if line.startswith("spassh-sealed-1-")]
    code = "\n".join(line for line in lines if line.startswith("\x1b[30;47m"))
    assert scanned(code, tmp_path) == invite

    file = os.path.join(client.directory, "invite")
    with open(file, "w", encoding="ascii") as written:
        written.write(f"{invite}\n")
    status, said = client.converse(
        *("spassh", "import", file),
        answers={
            "passphrase of the invite: ": "correct mouse",
            "passphrase of the invite:": PASSPHRASE,
        },
    )
    assert status == 0, said
    assert PASSPHRASE not in said
    assert said.count("spassh: that is not it") == 1
    spasshd.start()
    try:
        assert client.ssh(SERVER_NAME, "echo", "hello").stdout == "hello\n"
    finally:
        assert spasshd.running.stop() == 0
        spasshd.verb("stop", "--open")
