"""The profile that we ship for AppArmor: no mistake, and no wider than it has to be.

That it forbids nothing that the service does is seen in e2e/test_apparmor.py.
"""

from pathlib import Path

import pytest
from lab.apparmor import SOURCE, Access, Profile, parse
from lab.unit import values

TEXT = SOURCE.read_text(encoding="ascii")


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile(SOURCE)


def test_the_parser_finds_no_mistake() -> None:
    done = parse(SOURCE, "--Werror")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_parser_would_find_a_mistake(tmp_path: Path) -> None:
    """The check can fail."""
    file = tmp_path / "profile"
    file.write_text(TEXT.replace("capability kill,", "capability kil,"), "ascii")
    assert parse(file).returncode


def test_the_unit_asks_for_it_by_its_name() -> None:
    """A host without AppArmor, or where it was not loaded, starts the service too."""
    assert parse(SOURCE, "--names").stdout == "spasshd\n"
    assert values("AppArmorProfile") == ["-spasshd"]
    assert "apparmor.service" in values("After")
    assert values("NoNewPrivileges") == ["yes"]


def test_it_is_enforced_and_nobody_leaves_it(profile: Profile) -> None:
    assert "complain" not in TEXT
    assert "unconfined" not in TEXT
    (header,) = (rule for rule in profile.rules if rule.startswith("profile "))
    assert header == "profile spasshd flags=(attach_disconnected) {"
    for rule in profile.rules:
        assert not rule.startswith(("change_profile", "mount", "umount", "file"))
        # Under no_new_privs the kernel refuses each of these.
        if rule.startswith(("/", "@{")) and "=" not in rule:
            letters = rule.split()[1]
            assert "x" not in letters.lower() or "ix" in letters, rule


def test_the_capabilities_are_those_of_the_unit(profile: Profile) -> None:
    wanted = {f"CAP_{name.upper()}" for name in profile.capabilities}
    assert wanted == set(values("CapabilityBoundingSet"))


@pytest.mark.parametrize(
    "access",
    [
        Access("/etc/shadow", "r"),
        Access("/etc/spassh/server.key", "w"),
        Access("/etc/ssh/ssh_host_ed25519_key", "r"),
        Access("/root/.ssh/authorized_keys", "r"),
        Access("/root/.ssh/authorized_keys", "w"),
        Access("/run/spassh/program", "x"),
        Access("/run/spassh/library.so", "m"),
        Access("/run/systemd/private", "w"),
        Access("/srv/file", "w"),
        Access("/usr/bin/dash", "x"),
        Access("/usr/lib/python3/dist-packages/spassh/__init__.py", "w"),
        Access("/usr/sbin/modprobe", "x"),
        Access("/usr/sbin/spasshd", "w"),
        Access("/var/lib/spassh/deep/file", "w"),
        Access("/var/lib/spassh-gnupg/program", "x"),
    ],
    ids=" ".join,
)
def test_the_rest_is_denied(profile: Profile, access: Access) -> None:
    assert not profile.allows(access)


@pytest.mark.parametrize(
    "access",
    [
        Access("/etc/spassh/users.d/alice.toml", "r"),
        Access("/run/spassh/lock", "k"),
        Access("/usr/lib/python3.13/os.py", "r"),
        Access("/usr/lib/x86_64-linux-gnu/libnftables.so.1.1.0", "m"),
        Access("/usr/bin/python3.13", "x"),
        Access("/usr/bin/gpg-agent", "x"),
        Access("/var/lib/spassh-gnupg/pubring.kbx.lock", "w"),
        Access("/var/lib/spassh-gnupg/private-keys-v1.d/x.key", "r"),
    ],
    ids=" ".join,
)
def test_what_is_needed_is_allowed(profile: Profile, access: Access) -> None:
    """Also on hosts with another Python than this one has."""
    assert profile.allows(access)


def test_no_tcp_is_spoken(profile: Profile) -> None:
    assert ("inet", "raw") in profile.networks
    assert "stream" not in {kind for _, kind in profile.networks}
