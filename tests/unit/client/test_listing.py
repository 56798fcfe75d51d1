"""`spassh list`, `show` and `forget`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.client.parties import CLIENT, CLIENT_SECRET, PSK_BYTES, SERVER_KEYS, Home

from spassh.cli import main
from spassh.protocol.keys import PSK, PUBLIC, SECRET, encode_key
from spassh.verbs.ssh_config import write_blocks

Spassh = Callable[..., tuple[int, str, str]]


@pytest.fixture
def spassh(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Spassh:
    """Run the program in this process: exit code, standard output and error."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["spassh", *words])
        code = main()
        out, err = capfd.readouterr()
        return code, out, err

    return run


class TestList:
    def test_each_profile_is_a_line(self, home: Home, spassh: Spassh) -> None:
        home.profile("b.toml", hosts='["*.b.example", "!x.b.example"]')
        home.profile("a.toml")
        code, out, err = spassh("list")
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "a.toml\talice\tserver.example 192.0.2.1",
            "b.toml\talice\t*.b.example !x.b.example",
        ]

    def test_without_profiles_there_is_nothing(
        self, home: Home, spassh: Spassh
    ) -> None:
        assert spassh("list") == (0, "", "")

    def test_what_is_wrong_with_one_does_not_hide_the_others(
        self, home: Home, spassh: Spassh
    ) -> None:
        path = home.profile("a.toml", port="0")
        home.profile("b.toml")
        code, out, err = spassh("list")
        assert (code, out) == (3, "b.toml\talice\tserver.example 192.0.2.1\n")
        assert err.startswith(f"spassh: error: {path}: 'port' must be")


class TestShow:
    def test_all_is_shown_but_the_secrets(self, home: Home, spassh: Spassh) -> None:
        path = home.profile(width='"flow"', schedule="[0, 250]", name='"192.0.2.9"')
        code, out, err = spassh("show", "192.0.2.1")
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            f"profile    {path}",
            "hosts      server.example 192.0.2.1",
            "name       192.0.2.9",
            "user       alice",
            f"server     {encode_key(PUBLIC, SERVER_KEYS.public)}",
            f"client     {encode_key(PUBLIC, CLIENT)}, in {path}",
            "knocks at  udp/62201",
            "width      flow",
            "timeout    10 s",
            "schedule   0 250 ms",
        ]
        for secret in (encode_key(SECRET, CLIENT_SECRET), encode_key(PSK, PSK_BYTES)):
            assert secret not in out

    def test_a_key_of_ones_own_is_shown_with_its_place(
        self, home: Home, spassh: Spassh
    ) -> None:
        home.profile(secret="")
        home.write_key()
        out = spassh("show", "server.example")[1]
        assert f"client     {encode_key(PUBLIC, CLIENT)}, in {home.key}\n" in out
        assert "schedule   the usual one\n" in out
        assert "name       as ssh says\n" in out

    def test_keys_that_sign_are_shown(self, home: Home, spassh: Spassh) -> None:
        ours, theirs = "AB" * 20, "CD" * 20
        home.profile(
            format='"gnupg"', gnupg_key=f'"{ours}"', gnupg_server=f'"{theirs}"'
        )
        out = spassh("show", "server.example")[1]
        assert f"signed by  {ours}, for {theirs}\n" in out

    def test_of_nothing_is_an_error(self, home: Home, spassh: Spassh) -> None:
        code, out, err = spassh("show", "server.example")
        assert (code, out) == (3, "")
        assert "no profile names 'server.example'" in err


class TestForget:
    def test_the_profile_is_removed_and_nothing_else(
        self, home: Home, spassh: Spassh
    ) -> None:
        path = home.profile("a.toml")
        home.profile("b.toml", hosts='["other.example"]')
        home.write_key()
        code, out, err = spassh("forget", "192.0.2.1")
        assert (code, out) == (0, "")
        assert f"removed {path}, which was for server.example 192.0.2.1" in err
        assert "'spasshd user remove alice' there" in err
        assert home.names() == ["key", "profiles/b.toml"]

    def test_ssh_is_not_sent_through_spassh_to_it_any_more(
        self, home: Home, spassh: Spassh
    ) -> None:
        home.profile("a.toml")
        home.profile("b.toml", hosts='["other.example"]')
        write_blocks(str(home.path))
        assert spassh("forget", "server.example")[0] == 0
        blocks = Path(home.path, "ssh_config").read_text(encoding="utf-8")
        hosts = [line for line in blocks.splitlines() if line.startswith("Host ")]
        assert hosts == ["Host other.example"]

    @pytest.mark.parametrize("entry", ["*.example", "git@server.example"])
    def test_a_pattern_is_not_enough(
        self, home: Home, spassh: Spassh, entry: str
    ) -> None:
        path = home.profile(hosts=f'["{entry}", "*"]')
        code, _, err = spassh("forget", "server.example")
        assert code == 3
        assert f"{path}: is for 'server.example' by a pattern alone" in err
        assert path.exists()

    def test_what_cannot_be_removed_is_told(
        self, home: Home, spassh: Spassh, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = home.profile()

        def refuse(_: str) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "unlink", refuse)
        code, _, err = spassh("forget", "server.example")
        assert code == 1
        assert f"cannot remove {path}: permission denied" in err

    def test_of_nothing_is_an_error(self, home: Home, spassh: Spassh) -> None:
        assert spassh("forget", "server.example")[0] == 3
