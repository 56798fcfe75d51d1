"""What ~/.fwknoprc becomes: profiles, and what has no counterpart in one.

Pure: text in, text out. Nothing is dropped in silence: each line without a counterpart
is told, and a stanza of which something decisive has none is left out as a whole.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from ..protocol.errors import TextFormError
from ..protocol.names import check_host, check_user, is_fingerprint
from .fwknoprc_way import Line, NoWayError, way_lines
from .toml_string import toml_string

CARRIED: Final = frozenset(
    {
        "ACCESS",
        "ALLOW_IP",
        "DIGEST_TYPE",
        "GPG_NO_SIGNING_PW",
        "GPG_RECIPIENT",
        "GPG_SIGNER",
        "HMAC_DIGEST_TYPE",
        "HMAC_KEY",
        "HMAC_KEY_BASE64",
        "HTTP_USER_AGENT",
        "KEY",
        "KEY_BASE64",
        "NAT_ACCESS",
        "NAT_LOCAL",
        "RAND_PORT",
        "RESOLVE_HTTP_ONLY",
        "RESOLVE_IP_HTTP",
        "RESOLVE_IP_HTTPS",
        "RESOLVE_URL",
        "SPA_SERVER",
        "SPA_SERVER_PORT",
        "SPA_SERVER_PROTO",
        "SPA_SOURCE_PORT",
        "SPOOF_SOURCE_IP",
        "SPOOF_USER",
        "USE_GPG",
        "USE_GPG_AGENT",
        "USE_HMAC",
    }
)
"""Variables with a counterpart, or of use for one."""

_AGENT = "gpg asks its agent, which asks for the passphrase"
_WGET = "no other program is run: see resolve_url"

DECISIVE: Final = {
    "ENCRYPTION_MODE": "no other mode than CBC is made",
    "KEY_FILE": "write the key into the profile by hand",
    "HMAC_KEY_FILE": "write the key into the profile by hand",
}
"""Without these, a stanza would knock in another way: it is left out."""

LEFT: Final = {
    "FW_TIMEOUT": "spassh knock --for",
    "GPG_EXE": "gpg is the one that is found",
    "GPG_HOMEDIR": "GNUPGHOME says where the keys are, and else they are in ~/.gnupg",
    "GPG_SIGNING_PW": _AGENT,
    "GPG_SIGNING_PW_BASE64": _AGENT,
    "NAT_PORT": "ssh says which port it connects to",
    "NAT_RAND_PORT": "ssh says which port it connects to",
    "NO_SAVE_ARGS": "nothing is saved",
    "SERVER_RESOLVE_IPV4": "the knock goes to every address of the server",
    "TIME_OFFSET": "the clock has to be right",
    "USE_WGET_USER_AGENT": _WGET,
    "VERBOSE": "spassh proxy -v",
    "WGET_CMD": _WGET,
}
"""The rest."""

_HEADER = re.compile(r"\s*\[([^]]*)\]")
_LINE = re.compile(r"\s*([^\s#;:]+):?(?:\s+([^;\r\n]*))?")
_NUMBER = re.compile(r"[0-9]{1,5}")
_NAT = re.compile(r"([^,:]+)(?:[,:]([0-9]{1,5}))?")
_DEFAULT = "default"
_ORIGINS: Final = {
    "gnupg_key": "GPG_SIGNER",
    "gnupg_server": "GPG_RECIPIENT",
    "port": "SPA_SERVER_PORT",
    "user": "SPOOF_USER",
}
"""What a key of a profile comes from, where it has another name."""


class Left(NamedTuple):
    """Something that was not carried over."""

    line: Line
    why: str
    stanza: str = ""
    """The one that was left out because of it; the line may be in the default one."""

    def __str__(self) -> str:
        whole = f", so [{self.stanza}] is left out" if self.stanza else ""
        return f"{self.line.number}: {self.line.name}: {self.why}{whole}"


class NewProfile(NamedTuple):
    """A stanza as a profile."""

    name: str
    """That of its file, without the end."""
    text: str
    hosts: tuple[str, ...]
    stanza: dict[str, Line]

    def origin(self, key: str) -> Line:
        """Return what became the line of `key` in the profile, or names the server."""
        name = _ORIGINS.get(key, key.upper())
        return self.stanza.get(name, self.stanza["SPA_SERVER"])


class _UnableError(Exception):
    """A stanza cannot be carried over, because of this line."""

    def __init__(self, line: Line, why: str) -> None:
        super().__init__(why)
        self.line, self.why = line, why


def convert(text: str, login: str) -> tuple[list[NewProfile], list[Left]]:
    """Return a profile for each stanza of `text`, and what has no counterpart.

    `login` is the user in packets for whom no other is named.
    """
    stanzas = _stanzas(text)
    default = stanzas.pop(_DEFAULT, {})
    left = list(_left(default))
    whole = {name: default | stanza for name, stanza in stanzas.items()}
    server = default.get("SPA_SERVER")
    if server and server not in [one.get("SPA_SERVER") for one in whole.values()]:
        # Nobody takes its server over, so it is a server of its own.
        whole[_DEFAULT] = default
    profiles: list[NewProfile] = []
    for name, stanza in whole.items():
        # Of a stanza that is left out, the rest is told as well: it may be mended.
        left += _left(stanzas.get(name, {}))
        try:
            profiles.append(_profile(name, stanza, login, profiles))
        except _UnableError as error:
            left.append(Left(error.line, error.why, name or "without a name"))
    return profiles, left


def _stanzas(text: str) -> dict[str, dict[str, Line]]:
    """Return each stanza by its name: its variables, of which the last one counts."""
    found: dict[str, dict[str, Line]] = {}
    name = _DEFAULT
    for number, one in enumerate(text.split("\n"), 1):
        header = _HEADER.match(one)
        line = _LINE.match(one)
        if header:
            name = header[1].strip()
            found.setdefault(name, {})
        elif line:
            variable = Line(number, line[1], (line[2] or "").strip())
            found.setdefault(name, {})[line[1]] = variable
    return found


def _left(stanza: dict[str, Line]) -> Iterator[Left]:
    for line in stanza.values():
        if line.name in CARRIED or line.name in DECISIVE or line.value.upper() == "N":
            continue
        yield Left(line, LEFT.get(line.name, "is not known"))


def _profile(
    name: str, stanza: dict[str, Line], login: str, others: list[NewProfile]
) -> NewProfile:
    _check_decisive(stanza)
    server = stanza.get("SPA_SERVER")
    nowhere = next(iter(stanza.values()), Line(0, name, ""))
    if server is None:
        raise _UnableError(nowhere, "no SPA_SERVER")
    address = _host(server)
    taken = {host.lower() for one in others for host in one.hosts}
    # Several stanzas may be for one server: those behind the first have their names.
    hosts = tuple(
        host
        for host in dict.fromkeys((address, *_host_names(name)))
        if host.lower() not in taken
    )
    if not hosts:
        raise _UnableError(server, "another stanza is for this host, and was taken")
    lines = [
        f"# From [{name}] of .fwknoprc. spassh.toml(5) explains the keys."
        if name.isprintable()
        else "# From .fwknoprc. spassh.toml(5) explains the keys.",
        f"hosts = [{', '.join(map(toml_string, hosts))}]",
        f"user = {toml_string(_user(stanza.get('SPOOF_USER'), login))}",
        'format = "fwknop"',
    ]
    port = stanza.get("SPA_SERVER_PORT")
    if port is not None:
        if not _NUMBER.fullmatch(port.value):
            raise _UnableError(port, "is no port")
        lines.append(f"port = {int(port.value)}")
    if hosts != (address,):
        # No name server knows what the stanza is called.
        lines.append(f"name = {toml_string(address)}")
    lines += _keys(stanza, nowhere)
    try:
        lines += way_lines(stanza)
    except NoWayError as error:
        raise _UnableError(stanza[error.name], str(error)) from error
    lines += _nat(stanza, address)
    return NewProfile(hosts[0].lower(), "\n".join([*lines, ""]), hosts, stanza)


def _check_decisive(stanza: dict[str, Line]) -> None:
    harmless = {"ENCRYPTION_MODE": "CBC"}
    for name, why in DECISIVE.items():
        line = stanza.get(name)
        if line and line.value.upper() not in {"N", harmless.get(name)}:
            raise _UnableError(line, why)


def _host(line: Line) -> str:
    try:
        return check_host(line.value)
    except TextFormError as error:
        raise _UnableError(line, str(error)) from error


def _host_names(name: str) -> list[str]:
    """Return the name of a stanza if ssh could call the host so."""
    try:
        return [check_host(name)] if name != _DEFAULT else []
    except TextFormError:
        return []


def _user(line: Line | None, login: str) -> str:
    try:
        return check_user(line.value if line else login)
    except TextFormError as error:
        if line is None:
            return "user"
        raise _UnableError(line, str(error)) from error


def _keys(stanza: dict[str, Line], nowhere: Line) -> Iterator[str]:
    gpg = stanza.get("USE_GPG")
    if gpg is not None and gpg.value.upper().startswith("Y"):
        ours = _fingerprint(stanza, "GPG_SIGNER", gpg)
        theirs = _fingerprint(stanza, "GPG_RECIPIENT", gpg)
        yield f"gnupg_key = {toml_string(ours)}"
        yield f"gnupg_server = {toml_string(theirs)}"
    else:
        key = stanza.get("KEY_BASE64") or stanza.get("KEY")
        if key is None:
            raise _UnableError(nowhere, "no KEY and no KEY_BASE64 for this stanza")
        yield f"{key.name.lower()} = {toml_string(key.value)}"
    hmac = stanza.get("HMAC_KEY_BASE64") or stanza.get("HMAC_KEY")
    use = stanza.get("USE_HMAC")
    if hmac is not None and (use is None or use.value.upper() != "N"):
        yield f"{hmac.name.lower()} = {toml_string(hmac.value)}"
    for name in ("HMAC_DIGEST_TYPE", "DIGEST_TYPE"):
        digest = stanza.get(name)
        if digest is not None:
            yield f"{name.lower()} = {toml_string(digest.value.lower())}"


def _fingerprint(stanza: dict[str, Line], name: str, gpg: Line) -> str:
    """Return the whole fingerprint of a key: a shorter name may be anybody's."""
    line = stanza.get(name)
    if line is None:
        raise _UnableError(gpg, f"no {name} for this stanza")
    whole = line.value.removeprefix("0x").replace(" ", "")
    if not is_fingerprint(whole):
        what = "is no whole fingerprint, which 'gpg --fingerprint' shows"
        raise _UnableError(line, what)
    return whole.upper()


def _nat(stanza: dict[str, Line], server: str) -> list[str]:
    """Return where the port is to lead to, which fwknop has as HOST:PORT or HOST."""
    line, local = stanza.get("NAT_ACCESS"), stanza.get("NAT_LOCAL")
    is_local = local is not None and local.value.upper().startswith("Y")
    if line is None and not is_local:
        return []
    access = stanza.get("ACCESS")
    match = re.search(r"/([0-9]{1,5})", access.value) if access else None
    port = match[1] if match else "22"
    host = server
    if line is not None:
        found = _NAT.fullmatch(line.value)
        if not found:
            raise _UnableError(line, "is no host with a port")
        host, port = found[1], found[2] or port
    lines = [f"nat_access = {toml_string(f'{host},{port}')}"]
    return [*lines, "nat_local = true"] if is_local else lines
