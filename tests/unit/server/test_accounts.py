import pwd
from types import SimpleNamespace

import pytest
from unit.server.parties import CONFIG

from spassh_server.accounts import (
    Account,
    account_for_new_configuration,
    find_account,
)
from spassh_server.toml import ConfigError


def test_a_name_is_looked_up() -> None:
    nobody = pwd.getpwnam("nobody")
    expected = Account(nobody.pw_uid, nobody.pw_gid)
    assert expected == find_account(CONFIG._replace(user="nobody"))


@pytest.mark.parametrize("uid", [1, 61184, (1 << 32) - 2])
def test_a_number_needs_no_account(uid: int) -> None:
    assert Account(uid, uid) == find_account(CONFIG._replace(user=str(uid)))


@pytest.mark.parametrize("user", ["root", "0", "00", str((1 << 32) - 1), str(1 << 32)])
def test_root_and_numbers_that_mean_nobody_in_particular_are_refused(user: str) -> None:
    """Uid 2^32-1 tells setresuid(2) to change nothing, and 2^32 may wrap to 0."""
    with pytest.raises(ConfigError, match=r"spasshd\.toml: user: ") as caught:
        find_account(CONFIG._replace(user=user))
    assert caught.value.hint == 'write user = "_spassh"'


@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (0, 7), (7, 0)])
def test_an_account_with_the_ids_of_root_is_refused(
    uid: int, gid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = SimpleNamespace(pw_uid=uid, pw_gid=gid)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: entry)
    with pytest.raises(ConfigError, match="must not be root"):
        find_account(CONFIG._replace(user="toor"))


def test_a_missing_account_is_reported_with_its_remedy() -> None:
    with pytest.raises(ConfigError, match="user: no account 'nemo'") as caught:
        find_account(CONFIG._replace(user="nemo"))
    assert "useradd --system nemo" in caught.value.hint


def test_digits_of_other_scripts_are_no_number() -> None:
    with pytest.raises(ConfigError, match="no account"):
        find_account(CONFIG._replace(user="\u0667\u0667"))


def test_a_new_configuration_has_the_packages_account_or_a_free_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def has_account(_: str) -> object:
        return object()

    def has_none(_: str) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwnam", has_none)
    number = int(account_for_new_configuration())
    assert 60706 <= number < 61184
    assert number not in {entry.pw_uid for entry in pwd.getpwall()}
    monkeypatch.setattr(pwd, "getpwnam", has_account)
    assert account_for_new_configuration() == "_spassh"
