"""Profiles: what the client knows of each server, one TOML file for each.

Finding the profile of a host comes before everything else at a login, and most hosts
have none. So the keys stay text until `load_keys`, which needs the cryptography
library. spassh.toml(5) documents the files.
"""

from __future__ import annotations

import os

from . import plain_toml
from .errors import ProfileError, lower_reason
from .patterns import Rank, Wanted, check_entry, rank
from .private import PrivateFile, shell_word
from .protocol.errors import TextFormError
from .protocol.limits import DEFAULT_KNOCK_PORT
from .protocol.named_tuple import NamedTuple
from .protocol.names import (
    FINGERPRINT_SIZE,
    check_host,
    check_user,
    is_fingerprint,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any, Final

    from .fwknop_profile import Fwknop

DEFAULT_TIMEOUT: Final = 10
"""Seconds after which a port that does not answer counts as shut."""

MAX_TIMEOUT: Final = 600

WIDTHS: Final = ("auto", "flow", "address")
TRANSPORTS: Final = ("udp",)
FORMATS: Final = ("native", "fwknop", "gnupg")
SIGNED: Final = FORMATS[2]

MAX_KNOCKS: Final = 32

_AGAIN = "import the invite again with 'spassh import --force'"

_REQUIREMENTS: Final = {
    "hosts": (
        "a list of host names, addresses and patterns, not all of which begin with '!'",
        'hosts = ["server.example", "*.inside.example", "!public.inside.example"]',
    ),
    "user": ("a user's name", 'user = "alice"'),
    "server": ("a key that begins with 'spassh-public-'", 'server = "spassh-public-…"'),
    "psk": ("a key that begins with 'spassh-psk-'", 'psk = "spassh-psk-…"'),
    "secret": ("a key that begins with 'spassh-secret-'", 'secret = "spassh-secret-…"'),
    "invite": ("true or false", "invite = true"),
    "next_secret": (
        "a key that begins with 'spassh-secret-'",
        'next_secret = "spassh-secret-…"',
    ),
    "old_public": (
        "a key that begins with 'spassh-public-'",
        'old_public = "spassh-public-…"',
    ),
    "port": ("a whole number from 1 to 65535", f"port = {DEFAULT_KNOCK_PORT}"),
    "timeout": (
        f"a whole number of seconds from 1 to {MAX_TIMEOUT}",
        f"timeout = {DEFAULT_TIMEOUT}",
    ),
    "name": ("a host name or an address", 'name = "server.example"'),
    "width": (f"one of {', '.join(WIDTHS)}", f'width = "{WIDTHS[0]}"'),
    "schedule": (
        f"1 to {MAX_KNOCKS} growing milliseconds, from 0 to {1000 * MAX_TIMEOUT}",
        "schedule = [0, 200, 1000]",
    ),
    "transport": (
        f"{TRANSPORTS[0]}: the others are for an fwknopd",
        f'transport = "{TRANSPORTS[0]}"',
    ),
    "format": (f"one of {', '.join(FORMATS)}", f'format = "{FORMATS[0]}"'),
    "gnupg_key": (
        f"the {FINGERPRINT_SIZE} hexadecimal digits of a fingerprint",
        'gnupg_key = "…", beside format = "gnupg"',
    ),
    "gnupg_server": (
        f"the {FINGERPRINT_SIZE} hexadecimal digits of a fingerprint",
        'gnupg_server = "…", beside format = "gnupg"',
    ),
}
"""Every key of a profile: what it must be, and an example for the hint."""

_NATIVE: Final = (
    *("server", "psk", "secret", "invite", "next_secret", "old_public"),
    *("gnupg_key", "gnupg_server"),
)
"""Those of them that only a native profile has."""


class Profile(NamedTuple):
    """One profile as it was read. The keys are still text."""

    path: str
    hosts: tuple[str, ...]
    user: str
    server: str
    psk: str
    secret: str = ""
    """Empty means the client's own key file."""
    port: int = DEFAULT_KNOCK_PORT
    timeout: int = DEFAULT_TIMEOUT
    name: str = ""
    """What to resolve instead of what ssh says, or empty."""
    width: str = WIDTHS[0]
    schedule: tuple[int, ...] = ()
    """When to knock, in milliseconds; empty leaves it to `schedule.KNOCKS`."""
    transport: str = TRANSPORTS[0]
    invite: bool = False
    """Whether `secret` came in an invite, which others may have seen."""
    next_secret: str = ""
    """The key that takes the place of the present one, while that is under way."""
    old_public: str = ""
    """The key that had the place before, which the server is still to forget."""
    fwknop: Fwknop | None = None
    """What there is instead of these keys if the server is an fwknopd."""
    format: str = FORMATS[0]
    """Whether requests are signed by GnuPG as well."""
    gnupg_key: str = ""
    """The fingerprint of the OpenPGP key that signs; empty unless requests are."""
    gnupg_server: str = ""
    """That of the server's."""

    @property
    def is_signed(self) -> bool:
        """Whether requests are signed by an OpenPGP key, in whatever packets."""
        return self.format == SIGNED or bool(self.fwknop and self.fwknop.signer)

    @property
    def has_own_key(self) -> bool:
        """Whether it knocks with the client's own key, which is in another file."""
        return not self.secret and not self.fwknop

    @property
    def is_changing(self) -> bool:
        """Whether the key is being replaced, and that has not come to its end."""
        return bool(self.next_secret or self.old_public)


class Keys(NamedTuple):
    """The keys of a profile as bytes, 32 each."""

    secret: bytes
    server: bytes
    psk: bytes


def profiles_directory(home: str) -> str:
    """Return where the profiles are, given the configuration directory."""
    return os.path.join(home, "profiles")


def own_key_path(home: str) -> str:
    """Return where the client's own secret key is."""
    return os.path.join(home, "key")


def find(home: str, wanted: Wanted) -> Profile | None:
    """Return the profile for whom ssh wants to reach, or None if there is none.

    One that names the host itself comes before one with a pattern, and then one that
    names the login before one that does not. Of several patterns, the first counts.

    A broken profile matters to the hosts that it names. If it is so broken that it
    cannot say which, it matters to every host without another profile: a plain
    connection to a port that is shut would only hang, and nobody would know why.

    Raises:
        ProfileError: the profile for the host cannot be used.
    """
    found: tuple[Rank, PrivateFile, Mapping[str, Any]] | None = None
    broken: ProfileError | None = None
    for path in profile_paths(home):
        try:
            file = PrivateFile(path)
            table = _parse(file)
            fit = rank(_hosts(file.path, table), wanted)
        except FileNotFoundError:
            continue  # It was there a moment ago, or it is a link to nowhere.
        except ProfileError as error:
            broken = broken or error
            continue
        if fit is None:
            continue
        if found is not None and found[0] == fit and fit.is_exact:
            raise ProfileError(
                path,
                f"names '{wanted.host}' as {found[1].path} does",
                f"take the host out of one of them, or: rm {shell_word(path)}",
            )
        if found is None or fit > found[0]:
            found = fit, file, table
    if found is None:
        if broken:
            raise broken
        return None
    _, file, table = found
    file.check()
    return _profile(file.path, table)


def read_profile(path: str) -> Profile:
    """Read the profile in one file.

    Raises:
        FileNotFoundError: there is none.
        ProfileError: it cannot be used.
    """
    file = PrivateFile(path)
    file.check()
    return _profile(path, _parse(file))


def parse_profile(path: str, text: str) -> Profile:
    """Read a profile from the text that its file is to have.

    Raises:
        ProfileError: it cannot be used.
    """
    return _profile(path, _table(path, text))


def profile_paths(home: str) -> list[str]:
    """Return the names of all profile files in order.

    Raises:
        ProfileError: the directory is there and cannot be read.
    """
    directory = profiles_directory(home)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ProfileError(
            directory,
            f"cannot be read: {lower_reason(error)}",
            f"see whose it is with: ls -ld {shell_word(directory)}",
        ) from error
    return [
        os.path.join(directory, name)
        for name in sorted(names)
        if name.endswith(".toml") and not name.startswith(".")
    ]


def load_keys(profile: Profile, home: str) -> Keys:
    """Read the keys of `profile`, and the client's own if the profile has none.

    Raises:
        ProfileError: one of them is missing or damaged, or it has keys of fwknop.
    """
    if profile.fwknop:
        raise ProfileError(
            profile.path,
            "is for an fwknopd, and this takes a native profile",
            "'spassh enroll' makes one of it, once the host has spasshd",
        )
    # Here and not above: this import is the slow one.
    from .protocol.keys import PSK, PUBLIC, SECRET

    server = _key(profile.path, "server", PUBLIC, profile.server)
    psk = _key(profile.path, "psk", PSK, profile.psk)
    if profile.secret:
        secret = _key(profile.path, "secret", SECRET, profile.secret)
    else:
        secret = load_own_key(home)
    return Keys(secret, server, psk)


def load_own_key(home: str) -> bytes:
    """Read the client's own secret key.

    Raises:
        ProfileError: it is missing, damaged, or others can read it.
    """
    from .protocol.keys import SECRET, decode_key

    path = own_key_path(home)
    try:
        file = PrivateFile(path)
    except FileNotFoundError as error:
        raise ProfileError(
            path,
            "there is no key",
            "make one with 'spassh keygen', or import an invite that carries one",
        ) from error
    file.check()
    try:
        return decode_key(SECRET, file.text.strip())
    except TextFormError as error:
        raise ProfileError(
            path, f"not a key: {error}", "put back the line that 'spassh keygen' wrote"
        ) from error


def _key(path: str, name: str, kind: str, text: str) -> bytes:
    from .protocol.keys import decode_key

    try:
        return decode_key(kind, text)
    except TextFormError as error:
        raise ProfileError(path, f"'{name}': {error}", _AGAIN) from error


def _parse(file: PrivateFile) -> Mapping[str, Any]:
    return _table(file.path, file.text)


def _table(path: str, text: str) -> Mapping[str, Any]:
    plain = plain_toml.read(text)
    if plain is not None:
        return plain
    from tomllib import loads

    try:
        return loads(text)
    # ValueError itself is for a number of too many digits.
    except (ValueError, RecursionError) as error:
        reason = str(error)
        raise ProfileError(
            path,
            f"not TOML: {reason[:1].lower()}{reason[1:]}",
            "mend the line, or " + _AGAIN,
        ) from error


def _profile(path: str, table: Mapping[str, Any]) -> Profile:
    """Check every key of `table`. One that nobody reads is a typing error."""
    format_ = _choice(path, table, "format", FORMATS)
    if format_ == FORMATS[1]:
        return _fwknop_profile(path, table)
    _only(path, table, _REQUIREMENTS)
    user = _string(path, table, "user")
    try:
        check_user(user)
    except TextFormError as error:
        raise _wrong(path, "user") from error
    return Profile(
        path,
        _hosts(path, table),
        user,
        _string(path, table, "server"),
        _string(path, table, "psk"),
        _string(path, table, "secret") if "secret" in table else "",
        _integer(path, table, "port", DEFAULT_KNOCK_PORT, 65535),
        _integer(path, table, "timeout", DEFAULT_TIMEOUT, MAX_TIMEOUT),
        _name(path, table),
        _choice(path, table, "width", WIDTHS),
        _schedule(path, table),
        _choice(path, table, "transport", TRANSPORTS),
        _boolean(path, table, "invite"),
        _string(path, table, "next_secret") if "next_secret" in table else "",
        _string(path, table, "old_public") if "old_public" in table else "",
        format=format_,
        gnupg_key=_fingerprint(path, table, "gnupg_key"),
        gnupg_server=_fingerprint(path, table, "gnupg_server"),
    )


def _fwknop_profile(path: str, table: Mapping[str, Any]) -> Profile:
    from .fwknop_profile import REQUIREMENTS, read_fwknop

    usual = [
        key for key in _REQUIREMENTS if key not in _NATIVE and key not in REQUIREMENTS
    ]
    _only(path, table, [*usual, *REQUIREMENTS])
    if table.get("width", "address") != "address":
        raise ProfileError(
            path,
            "'width' must be address: fwknop knows no other",
            "take the line out",
        )
    # What is checked there of a native profile is checked here, and its keys are not.
    native = {key: table[key] for key in usual if key in table and key != "format"}
    profile = _profile(path, native | {"server": "-", "psk": "-"})
    fwknop = read_fwknop(path, table)
    return profile._replace(server="", psk="", width="address", fwknop=fwknop)


def _only(path: str, table: Mapping[str, Any], known: Collection[str]) -> None:
    for key in table:
        if key not in known:
            raise ProfileError(
                path,
                f"unknown key '{key}'",
                f"take it out; the keys are: {' '.join(known)}",
            )


def _hosts(path: str, table: Mapping[str, Any]) -> tuple[str, ...]:
    hosts = _required(path, table, "hosts")
    if type(hosts) is not list or not hosts:
        raise _wrong(path, "hosts")
    for host in hosts:
        if type(host) is not str:
            raise _wrong(path, "hosts")
        try:
            check_entry(host)
        except TextFormError as error:
            raise _wrong(path, "hosts") from error
    if all(host.startswith("!") for host in hosts):
        raise _wrong(path, "hosts")
    return tuple(hosts)


def _name(path: str, table: Mapping[str, Any]) -> str:
    if "name" not in table:
        return ""
    try:
        return check_host(_string(path, table, "name"))
    except TextFormError as error:
        raise _wrong(path, "name") from error


def _fingerprint(path: str, table: Mapping[str, Any], key: str) -> str:
    """Read a fingerprint, which is there if requests are signed and not otherwise."""
    if table.get("format", FORMATS[0]) != SIGNED:
        if key in table:
            raise _wrong(path, key)
        return ""
    text = _string(path, table, key)
    if not is_fingerprint(text):
        raise _wrong(path, key)
    return text.upper()


def _choice(
    path: str, table: Mapping[str, Any], key: str, words: tuple[str, ...]
) -> str:
    word = table.get(key, words[0])
    if type(word) is not str or word not in words:
        raise _wrong(path, key)
    return word


def _schedule(path: str, table: Mapping[str, Any]) -> tuple[int, ...]:
    if "schedule" not in table:
        return ()
    times = table["schedule"]
    if (
        type(times) is not list
        or not 1 <= len(times) <= MAX_KNOCKS
        or any(type(time) is not int for time in times)
        or times[0] != 0
        or times[-1] > 1000 * MAX_TIMEOUT
        or times != sorted(set(times))
    ):
        raise _wrong(path, "schedule")
    return tuple(times)


def _string(path: str, table: Mapping[str, Any], key: str) -> str:
    value = _required(path, table, key)
    if type(value) is not str or not value:
        raise _wrong(path, key)
    return value


def _integer(
    path: str, table: Mapping[str, Any], key: str, default: int, most: int
) -> int:
    value = table.get(key, default)
    # bool is an int in Python, and not in TOML.
    if type(value) is not int or not 1 <= value <= most:
        raise _wrong(path, key)
    return value


def _boolean(path: str, table: Mapping[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if type(value) is not bool:
        raise _wrong(path, key)
    return value


def _required(path: str, table: Mapping[str, Any], key: str) -> Any:
    if key not in table:
        raise ProfileError(path, f"'{key}' is missing", _AGAIN)
    return table[key]


def _wrong(path: str, key: str) -> ProfileError:
    requirement, example = _REQUIREMENTS[key]
    return ProfileError(
        path, f"'{key}' must be {requirement}", f"for example: {example}"
    )
