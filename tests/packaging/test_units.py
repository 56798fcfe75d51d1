"""What a package installs for systemd: it is shut, and at one with the program."""

import os
import re
import stat
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.unit import IPTABLES, SERVER, UNIT, needs_systemd, values

from spassh_server import cli, config
from spassh_server.daemon import DaemonError
from spassh_server.libpcap import CaptureError
from spassh_server.listener import GranterGoneError
from spassh_server.privsep import sandbox
from spassh_server.privsep.message import MessageError
from spassh_server.privsep.sandbox import SandboxError
from spassh_server.toml import ConfigError
from spassh_server.verbs import init, run

README = " ".join((SERVER.parent / "README.md").read_text(encoding="utf-8").split())
INSTALL = " ".join(
    (SERVER.parent / "docs" / "INSTALL.md").read_text(encoding="utf-8").split()
)
MAN = " ".join((SERVER.parent / "man" / "spasshd.8").read_text("ascii").split())


def value(key: str) -> str:
    (only,) = values(key)
    return only


def configuration() -> config.Config:
    """What `spasshd init` writes where a package is installed."""
    options = Namespace(protect=[], backend="auto")
    text = init._configuration(options, config.DEFAULT_PATH, "")
    return config.parse(text, config.DEFAULT_PATH)


# systemd's own judgement


def exposure(directory: Path, unit: str) -> float:
    """Have the unit judged: 0 is best, 10 is worst."""
    file = directory / "spasshd.service"
    file.write_text(unit, encoding="ascii")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(file)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (level,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", judged)
    return float(level)


def without(key: str) -> str:
    return re.sub(rf"^{key}=.*\n", "", UNIT, flags=re.MULTILINE)


@needs_systemd
def test_the_exposure_is_under_2(tmp_path: Path) -> None:
    assert exposure(tmp_path, UNIT) < 2.0


@needs_systemd
@pytest.mark.parametrize(
    "key", ["NoNewPrivileges", "RestrictAddressFamilies", "SystemCallFilter"]
)
def test_the_exposure_would_be_more_without(tmp_path: Path, key: str) -> None:
    """The check can fail."""
    assert exposure(tmp_path, without(key)) >= 2.0


@needs_systemd
def test_the_exposure_is_what_the_documents_say(tmp_path: Path) -> None:
    if not systemd_version().startswith("systemd 252 "):
        pytest.skip("the figures in docs/INSTALL.md are those of systemd 252")
    bare = exposure(tmp_path, UNIT)
    assert (
        f"`systemd-analyze security` of systemd 252 gives it {bare} (of 10" in INSTALL
    )
    assert f"`systemd-analyze security` gives the unit {bare} (of 10" in README
    as_root = exposure(tmp_path, without("User"))
    assert f"without that line would say {as_root}. " in INSTALL
    with_iptables = exposure(tmp_path, UNIT + IPTABLES)
    assert f"the Internet sockets that iptables wants make it {with_iptables}. " in (
        INSTALL
    )


def systemd_version() -> str:
    return subprocess.run(
        ["systemd-analyze", "--version"], check=True, capture_output=True, text=True
    ).stdout


def verify(directory: Path, unit: str) -> str:
    """Return what systemd finds wrong with the unit. Its exit status says nothing."""
    file = directory / "spasshd.service"
    # The program is not installed here, and that would be found first.
    file.write_text(re.sub(r"=!spasshd\b", "=!/bin/true", unit), encoding="ascii")
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)],
        capture_output=True,
        text=True,
        check=True,
    ).stderr


@needs_systemd
@pytest.mark.parametrize("drop_in", ["", IPTABLES])
def test_systemd_finds_no_mistake(tmp_path: Path, drop_in: str) -> None:
    assert verify(tmp_path, UNIT + drop_in) == ""


@needs_systemd
def test_systemd_would_find_a_mistake(tmp_path: Path) -> None:
    """The check can fail."""
    assert "Unknown key" in verify(tmp_path, UNIT.replace("\nUMask=", "\nUmask="))


@needs_systemd
def test_account_and_directories_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for program, kind in (
        (["systemd-sysusers"], "sysusers"),
        (["systemd-tmpfiles", "--create"], "tmpfiles"),
    ):
        file = str(SERVER / f"spasshd.{kind}")
        subprocess.run([*program, f"--root={tmp_path}", file], check=True)
    (account,) = (tmp_path / "etc" / "passwd").read_text(encoding="ascii").splitlines()
    assert re.fullmatch(r"_spassh:[^:]*:[1-9]\d*:[1-9]\d*:.*/nologin", account)
    run_dir = os.stat(f"{tmp_path}{configuration().run_dir}")
    assert stat.S_IMODE(run_dir.st_mode) == 0o755
    lock = os.stat(tmp_path / "run" / "xtables.lock")
    assert stat.S_IMODE(lock.st_mode) == 0o600
    assert lock.st_uid == run_dir.st_uid == 0


# At one with the program


def test_the_directories_are_those_that_init_writes() -> None:
    made = configuration()
    assert f"/var/lib/{value('StateDirectory')}" == made.state_dir
    assert value("StateDirectoryMode") == "0700"
    assert made.run_dir in values("ReadWritePaths")
    # It would give the directory to User=, and the daemon wants it to be root's.
    assert values("RuntimeDirectory") == []
    tmpfiles = (SERVER / "spasshd.tmpfiles").read_text(encoding="ascii")
    assert f"\nd {made.run_dir} 0755 root root\n" in tmpfiles
    assert value("ConditionPathExists") == made.path == config.DEFAULT_PATH


def test_the_account_is_the_one_of_the_configuration() -> None:
    sysusers = (SERVER / "spasshd.sysusers").read_text(encoding="ascii")
    user = config.parse("", config.DEFAULT_PATH).user
    assert value("User") == user
    assert re.findall(r"^u (\S+) ", sysusers, re.MULTILINE) == [user]


def test_every_capability_that_a_program_keeps_is_there() -> None:
    kept = {name for name in vars(sandbox) if name.startswith("CAP_")}
    assert {"CAP_NET_ADMIN", "CAP_NET_RAW"} <= kept
    # What is more is for the start: to open the capture, to become somebody else, and
    # to say so to exec.
    assert set(values("CapabilityBoundingSet")) == kept | {
        "CAP_BPF",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
    }


def test_the_started_verbs_exist() -> None:
    for key, verb in {"ExecStart": "run", "ExecReload": "reload"}.items():
        # "!" leaves root in place: what becomes User= is the listener, by itself.
        assert values(key) == ["!spasshd", verb]
        assert cli._parser().parse_args([verb]).module == verb


def is_started_again(status: int) -> bool:
    """Tell whether systemd starts what has exited so: see systemd.service(5)."""
    if str(status) in values("RestartPreventExitStatus"):
        return False
    if status == 0 or str(status) in values("SuccessExitStatus"):
        return value("Restart") in {"always", "on-success"}
    return value("Restart") in {"always", "on-failure"}


def exit_status(end: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the exit status of a daemon that ends so."""
    monkeypatch.setattr(run, "run_daemon", lambda *_: end())
    monkeypatch.setattr(config, "load", lambda _: configuration())
    return cli.main(["run"])


@pytest.mark.parametrize(
    "error",
    [
        CaptureError("eth0: the interface is gone"),
        ConfigError(config.DEFAULT_PATH, 1, "lifetme", "unknown key", ""),
        DaemonError("the granter is still busy"),
        GranterGoneError(),
        MessageError("no such type"),
        OSError(28, "No space left on device"),
        SandboxError("privileges came back"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_guard_is_started_again_whatever_happens(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bool:
        raise error

    assert is_started_again(exit_status(fail, monkeypatch))
    # However often that is.
    assert value("StartLimitIntervalSec") == "0"


def test_the_watchdog_wakes_both_programs_as_often_as_the_texts_say() -> None:
    assert value("WatchdogSec") == "5min"
    assert "every 150 seconds" in INSTALL
    assert ".Li WatchdogSec=5min , so that both programs wake up every 150 seconds" in (
        MAN
    )


def test_the_guard_that_was_stopped_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_started_again(exit_status(lambda: True, monkeypatch))


def test_the_guard_is_started_again_after_a_signal_of_somebody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its drop stays, so without it nobody gets in any more."""
    assert is_started_again(exit_status(lambda: False, monkeypatch))


def test_modules_are_loaded_before_a_packet_filter_asks_for_them() -> None:
    """The unit may load none, and a guard that starts too early would have to wait."""
    assert value("ProtectKernelModules") == "yes"
    assert "systemd-modules-load.service" in values("After")


def test_the_drop_comes_before_the_network_and_waits_for_nothing_of_it() -> None:
    assert "network-pre.target" in values("Before")
    assert value("DefaultDependencies") == "no"
    after = set(values("After"))
    assert not {one for one in after if one.startswith(("network", "sys"))} - {
        "systemd-modules-load.service",
        "systemd-sysusers.service",
        "systemd-tmpfiles-setup.service",
    }
