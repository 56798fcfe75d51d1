"""A trial is what root wrote, for this boot, and for no longer than a trial may be."""

import os
from pathlib import Path

import pytest

from spassh_server import config
from spassh_server.config import Config
from spassh_server.limits import MAX_TRIAL_SECONDS
from spassh_server.ports import Port
from spassh_server.toml import ConfigError
from spassh_server.trial import (
    Trial,
    clear_trial,
    encode_trial,
    on_trial,
    parse_trial,
    read_trial,
    settings_of,
    write_trial,
)

SSH, WEB = Port(6, 22), Port(6, 443)
BOOTED = 1_767_225_600_000
TRIAL = Trial((SSH,), 1000, 121_000)


def parsed(text: str, now: int = 1000, booted: int = BOOTED) -> Trial | None:
    return parse_trial(text, "/run/spassh/trial", booted, now)


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    return config.parse('run_dir = "run"', str(tmp_path / "spasshd.toml"))


def test_it_is_read_back() -> None:
    assert parsed(encode_trial(TRIAL, BOOTED)) == TRIAL


@pytest.mark.parametrize(
    ("now", "booted", "there"),
    [
        (1000, BOOTED, True),
        (999, BOOTED, False),
        (120_999, BOOTED, True),
        (121_000, BOOTED, False),
        (10**12, BOOTED, False),
        # The clock was set by a little, or it is another boot.
        (1000, BOOTED + 10_000, True),
        (1000, BOOTED - 10_000, True),
        (1000, BOOTED + 10_001, False),
        (1000, BOOTED - 10_001, False),
    ],
)
def test_it_ends_in_time_and_with_the_boot(now: int, booted: int, there: bool) -> None:
    text = encode_trial(TRIAL, BOOTED)
    assert (parsed(text, now, booted) is not None) is there


@pytest.mark.parametrize(
    ("begun", "ends"),
    [
        # As after a boot whose clock was as wrong as that of this one.
        (1001, 121_000),
        (1 << 60, 1 << 61),
        (1000, 1001 + 1000 * MAX_TRIAL_SECONDS),
        (1000, 1000),
    ],
)
def test_times_that_cannot_be_are_those_of_another_boot(begun: int, ends: int) -> None:
    odd = TRIAL._replace(begun=begun, ends=ends)
    assert parsed(encode_trial(odd, BOOTED)) is None


def test_the_longest_trial_is_one() -> None:
    long = TRIAL._replace(ends=1000 + 1000 * MAX_TRIAL_SECONDS)
    assert parsed(encode_trial(long, BOOTED)) == long


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tcp/22", "tcp/0"),
        ("begun = 1000", "begun = -1"),
        ("begun = 1000", 'begun = "1000"'),
        ("ends = 121000\n", ""),
        (f"booted = {BOOTED}\n", ""),
        ("booted", "boot"),
        ("ports = [", "ports = "),
    ],
)
def test_what_is_none_is_an_error(old: str, new: str) -> None:
    text = encode_trial(TRIAL, BOOTED)
    assert old in text
    with pytest.raises(ConfigError):
        parsed(text.replace(old, new))


def test_it_is_a_file_of_root_alone(settings: Config) -> None:
    os.mkdir(settings.run_dir)
    assert read_trial(settings, BOOTED, 1000) is None
    write_trial(settings, TRIAL, BOOTED)
    assert read_trial(settings, BOOTED, 1000) == TRIAL
    path = os.path.join(settings.run_dir, "trial")
    os.chmod(path, 0o644)
    with pytest.raises(ConfigError, match="readable or writable by others"):
        read_trial(settings, BOOTED, 1000)
    clear_trial(settings)
    clear_trial(settings)
    assert os.listdir(settings.run_dir) == []


def test_a_link_that_leads_nowhere_is_not_passed_over(settings: Config) -> None:
    os.mkdir(settings.run_dir)
    os.symlink("nowhere", os.path.join(settings.run_dir, "trial"))
    with pytest.raises(ConfigError):
        read_trial(settings, BOOTED, 1000)


def test_only_ports_that_can_be_granted_and_are_not_dropped_anyway_are_on_trial(
    settings: Config,
) -> None:
    trial = TRIAL._replace(ports=(SSH, WEB, Port(6, 80)))
    some = settings._replace(grant_ports=(SSH, WEB), protect=(WEB,))
    assert on_trial(some, trial) == (SSH,)
    assert on_trial(some._replace(manage="accept"), trial) == ()
    assert on_trial(some, None) == ()


def test_a_packet_filter_that_holds_nothing_drops_until_it_is_told(
    settings: Config,
) -> None:
    some = settings._replace(grant_ports=(SSH, WEB), protect=(WEB,))
    held = settings_of(some, TRIAL, holds=True)
    assert (held.protect, held.trial) == ((WEB,), (SSH,))
    told = settings_of(some, TRIAL, holds=False)
    assert (told.protect, told.trial) == ((WEB, SSH), ())
