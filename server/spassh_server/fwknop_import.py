"""What fwknopd's files become: users' files, and what the configuration has to say.

Pure. Nothing is dropped in silence: each line that has no counterpart is told, and a
stanza of which something decisive has none is left out as a whole.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Final, NamedTuple

from spassh.protocol.errors import TextFormError
from spassh.protocol.names import check_user, is_fingerprint

from .fwknop_access import Line, Stanza
from .fwknop_heard import heard_by, settings_for
from .fwknop_variables import (
    CARRIED,
    CARRIED_CONF,
    DECISIVE,
    LEFT,
    LEFT_CONF,
    UNSIGNED,
)
from .ports import Port, parse_port

_TIMEOUT = 30
"""Seconds of a grant of fwknopd, where nothing else is said."""
_LONGEST = 300
"""The most that a client of it gets by --fw-timeout, where nothing else is said."""
_PLACEHOLDER = "__CHANGEME__"
_SIGNERS = {"GPG_FINGERPRINT_ID", "GPG_REMOTE_ID"}


_ORIGINS: Final = {
    "expires": "ACCESS_EXPIRE",
    "gnupg": "GPG_FINGERPRINT_ID",
    "lifetime": "FW_ACCESS_TIMEOUT",
    "max_lifetime": "MAX_FW_TIMEOUT",
    "ports": "OPEN_PORTS",
    "sources": "SOURCE",
}
"""What a key of a user's file comes from, where it has another name."""


class Left(NamedTuple):
    """Something that was not carried over."""

    line: Line
    why: str
    is_decisive: bool = False
    """Whether the whole stanza was left out because of it."""

    def __str__(self) -> str:
        line = self.line
        whole = ", so the stanza is left out" if self.is_decisive else ""
        return f"{line.path}:{line.number}: {line.name}: {self.why}{whole}"


class NewUser(NamedTuple):
    """A stanza as a user's file."""

    name: str
    text: str
    ports: tuple[Port, ...]
    """What it has to find in grant_ports; none if it takes what is there."""
    lifetime: int
    """Seconds that max_lifetime of the configuration has to allow."""
    stanza: tuple[Line, ...]

    def origin(self, key: str) -> Line:
        """Return what became the line of `key` in the file, or where the stanza is."""
        wanted = _ORIGINS.get(key, key.upper())
        found = [line for line in self.stanza if line.name == wanted]
        return [self.stanza[0], *found][-1]


class _UnableError(Exception):
    """A stanza cannot be carried over, because of this line."""

    def __init__(self, line: Line, why: str) -> None:
        super().__init__(why)
        self.left = Left(line, why, is_decisive=True)


def import_stanzas(
    stanzas: Iterable[Stanza],
    outside: Iterable[Line],
    grant_ports: tuple[Port, ...],
    max_lifetime: int,
) -> tuple[list[NewUser], list[Left]]:
    """Return a user for each stanza, and what could not be carried over.

    Args:
        stanzas: those of access.conf.
        outside: its lines before the first of them.
        grant_ports: what the configuration has.
        max_lifetime: the same, in seconds; what fwknopd does by default is cut to it.
    """
    users: list[NewUser] = []
    left = [Left(line, "is in no stanza: SOURCE comes first") for line in outside]
    for number, stanza in enumerate(stanzas, 1):
        taken = {user.name for user in users}
        decisive = [
            Left(line, DECISIVE[line.name], is_decisive=True)
            for line in stanza
            if line.name in DECISIVE
        ]
        try:
            if not decisive:
                users.append(_user(stanza, number, taken, grant_ports, max_lifetime))
        except _UnableError as error:
            decisive.append(error.left)
        told = {one.line for one in decisive}
        left += decisive
        left += [one for one in _left(stanza) if one.line not in told]
    return users, left


def import_conf(lines: Iterable[Line]) -> tuple[dict[str, str], list[Left]]:
    """Return lines for spasshd.toml from fwknopd.conf, and what has none."""
    wanted: dict[str, str] = {}
    left: list[Left] = []
    lines = list(lines)
    http = any(line.name == "ENABLE_SPA_OVER_HTTP" and line.is_yes for line in lines)
    for line in lines:
        if line.name == "PCAP_INTF":
            wanted["interfaces"] = f"interfaces = [{_quote(line.value)}]"
        elif line.name == "PCAP_FILTER":
            try:
                wanted |= settings_for(heard_by(line.value, http=http))
            except ValueError as error:
                why = f"{error}: write fwknop_transports by hand"
                left.append(Left(line, why))
        elif line.name not in CARRIED_CONF:
            left.append(Left(line, LEFT_CONF.get(line.name, "is not known")))
    return wanted, left


def _left(stanza: Stanza) -> Iterator[Left]:
    for line in stanza:
        if line.name in CARRIED or (line.name in DECISIVE):
            continue
        # What is switched off there is not missed here.
        if line.value.upper() != "N" and line.name not in LEFT:
            yield Left(line, "is not known")
        elif line.value.upper() != "N":
            yield Left(line, LEFT[line.name])
    names = [line.name for line in stanza]
    if "OPEN_PORTS" not in names:
        what = "without OPEN_PORTS any port was opened, and here those of grant_ports"
        yield Left(stanza[0], what)
    for line in stanza:
        unsigned = line.name == "GPG_REQUIRE_SIG" and not line.is_yes
        if unsigned or (line.name == "GPG_DECRYPT_ID" and _SIGNERS.isdisjoint(names)):
            yield Left(line, UNSIGNED)
        if line.name == "REQUIRE_USERNAME":
            what = "names the user, and what a packet says is not looked at"
            yield Left(line, what)


def _user(
    stanza: Stanza,
    number: int,
    taken: set[str],
    grant_ports: tuple[Port, ...],
    max_lifetime: int,
) -> NewUser:
    # As in fwknopd, the last one counts.
    last = {line.name: line for line in stanza}
    key = _key_tables(last, stanza[0])
    user = _name(last.get("REQUIRE_USERNAME"), number, taken)
    lifetime = _seconds(last.get("FW_ACCESS_TIMEOUT"), _TIMEOUT)
    most = _seconds(last.get("MAX_FW_TIMEOUT"), min(_LONGEST, max_lifetime))
    longest = max(most, lifetime)
    lines = [
        f"# User {user} of spasshd, from {_comment(stanza[0])}.",
        "# See spasshd.toml(5); 'spasshd reload' takes changes over.",
    ]
    ports = _ports(last, grant_ports)
    if ports is not None:
        lines.append(f"ports = [{', '.join(_quote(str(port)) for port in ports)}]")
    lines += [f"lifetime = {lifetime}", f"max_lifetime = {longest}"]
    lines += _sources(stanza[0])
    lines += [
        "# fwknopd takes any address from a packet; false is narrower, if clients say",
        "# the address that they have on the way to this server, or none.",
        "any_address = true",
    ]
    lines += _expires(last)
    text = "\n".join([*lines, "", *key, ""])
    return NewUser(user, text, ports or (), longest, tuple(stanza))


def _key_tables(last: dict[str, Line], source: Line) -> list[str]:
    """Spell the keys of a stanza: for symmetric packets, for GnuPG's, or for both."""
    key = _secret(last, "KEY")
    signers = _signers(last)
    if not key and not signers:
        gpg = [line for line in last.values() if line.name.startswith("GPG_")]
        what = "has no GPG_FINGERPRINT_ID, and no KEY" if gpg else "has no KEY"
        raise _UnableError((gpg or [source])[0], what)
    shared = _secret(last, "HMAC_KEY") or [
        "allow_unauthenticated = true  # there is no HMAC_KEY"
    ]
    digest = last.get("HMAC_DIGEST_TYPE")
    if digest is not None:
        shared.append(f"hmac_digest_type = {_quote(digest.value.lower())}")
    mode = last.get("ENCRYPTION_MODE")
    if mode is not None and mode.value.lower() == "legacy":
        shared.append("legacy = true")
    elif key and mode is not None and mode.value.lower() != "cbc":
        raise _UnableError(mode, "no other mode than CBC is taken")
    lines = []
    for table in filter(None, (key, signers)):
        lines += ["[[key]]", 'format = "fwknop"', *table, *shared, ""]
    return lines[:-1]


def _secret(last: dict[str, Line], name: str) -> list[str]:
    """Spell a key in the one of its two forms that is there; nothing if none is."""
    found = [last[one] for one in (f"{name}_BASE64", name) if one in last]
    if not found:
        return []
    if found[0].value == _PLACEHOLDER:
        raise _UnableError(found[0], "has no key yet")
    return [f"{found[0].name.lower()} = {_quote(found[0].value)}"]


def _signers(last: dict[str, Line]) -> list[str]:
    """Spell whose signatures are good; nothing if the stanza has nobody's."""
    line = last.get("GPG_FINGERPRINT_ID") or last.get("GPG_REMOTE_ID")
    if line is None:
        return []
    names = [
        one.strip().removeprefix("0x").replace(" ", "") for one in line.value.split(",")
    ]
    if not all(map(is_fingerprint, names)):
        # A key with the same last eight digits is made in a minute.
        what = "is no list of whole fingerprints, which 'gpg --fingerprint' shows"
        raise _UnableError(line, what)
    return [f"gnupg = [{', '.join(_quote(one.upper()) for one in names)}]"]


def _name(line: Line | None, number: int, taken: set[str]) -> str:
    name = f"fwknop-{number}"
    if line is None:
        return name
    try:
        wanted = check_user(line.value)
    except TextFormError:
        return name
    return name if wanted in taken else wanted


def _seconds(line: Line | None, default: int) -> int:
    if line is None:
        return default
    if not (line.value.isascii() and line.value.isdecimal()) or len(line.value) > 6:
        raise _UnableError(line, "is no number of seconds")
    # fwknopd takes 0 for its default.
    return int(line.value) or default


def _ports(
    last: dict[str, Line], grant_ports: tuple[Port, ...]
) -> tuple[Port, ...] | None:
    """Return the user's ports, or None for all that there are."""
    refused = set(_port_list(last.get("RESTRICT_PORTS")))
    if "OPEN_PORTS" not in last:
        kept = tuple(port for port in grant_ports if port not in refused)
        return kept if refused else None
    ports = _port_list(last["OPEN_PORTS"])
    return tuple(port for port in dict.fromkeys(ports) if port not in refused)


def _port_list(line: Line | None) -> list[Port]:
    if line is None:
        return []
    try:
        return [parse_port(one.strip().lower()) for one in line.value.split(",")]
    except ValueError as error:
        raise _UnableError(line, str(error)) from error


def _sources(line: Line) -> list[str]:
    if line.value.upper() == "ANY":
        return []
    try:
        # fwknopd leaves bits behind the prefix alone; here they have to be zero.
        networks = [
            str(ip_network(one.strip(), strict=False)) for one in line.value.split(",")
        ]
    except ValueError as error:
        raise _UnableError(line, str(error)) from error
    return [f"sources = [{', '.join(map(_quote, networks))}]"]


def _expires(last: dict[str, Line]) -> list[str]:
    line = last.get("ACCESS_EXPIRE_EPOCH") or last.get("ACCESS_EXPIRE")
    if line is None:
        return []
    try:
        if line.name == "ACCESS_EXPIRE":
            day = datetime.strptime(line.value, "%m/%d/%Y").replace(tzinfo=UTC)
            return [f"expires = {day.date()}"]
        moment = datetime.fromtimestamp(int(line.value), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _UnableError(line, "is no time") from error
    return [f"expires = {moment.strftime('%Y-%m-%dT%H:%M:%SZ')}"]


def _quote(text: str) -> str:
    """Spell a string for TOML, whose escapes JSON has as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(line: Line) -> str:
    """Spell where a stanza is, so that it stays in its comment."""
    return ascii(f"{line.path}:{line.number}")[1:-1]
