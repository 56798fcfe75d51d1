"""`spassh import`: an invite becomes the profile of a server."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from textwrap import indent
from typing import Final

from ..errors import ProfileError, SpasshError, UsageError, lower_reason
from ..patterns import canonical
from ..private import config_home, shell_word
from ..profile import (
    DEFAULT_TIMEOUT,
    FORMATS,
    TRANSPORTS,
    WIDTHS,
    Profile,
    load_own_key,
    own_key_path,
    profile_paths,
    profiles_directory,
    read_profile,
)
from ..protocol.errors import TextFormError
from ..protocol.invite import Invite, decode_invite
from ..protocol.keys import PSK, PUBLIC, SECRET, encode_key
from ..protocol.names import check_host
from ..protocol.sealed_invite import decode_sealed, is_sealed
from ..ui import write
from .keygen import public_half, public_key
from .passphrase import unseal
from .ssh_config import BLOCK
from .toml_string import toml_string
from .writing import make_directory, replace_file

MAX_INVITE_BYTES: Final = 4096
"""Most bytes to read. An invite has less than 600; the rest is white space."""

_STDIN = 0


def run(file: str, names: list[str], *, force: bool, passphrase_file: str = "") -> None:
    """Write the profile for the invite in `file`, and tell what was done.

    A sealed one takes its passphrase from `passphrase_file`, or from the terminal.

    Raises:
        SpasshError: it is no invite, or not for us, or its name belongs to another.
    """
    _check_names(names)
    invite = _read_invite(file, passphrase_file)
    profile, is_written = store(invite, names, config_home(), force=force)
    if not is_written:
        return
    if file != "-":
        _say(f"the invite is as secret as a key: rm {shell_word(file)}")
    if profile.invite:
        _say(
            "its key is for whoever has seen it: where you may run spasshd,"
            f" 'spassh enroll {invite.address}' replaces it by one of your own"
        )
    tell_block("it")


def tell_block(what: str) -> None:
    """Say how ssh comes to use `what`: no importing changes its configuration."""
    _say(f"ssh uses {what} with these lines in ~/.ssh/config, once for all hosts:")
    _say(indent(BLOCK, "    ").rstrip("\n"))


def store(
    invite: Invite, names: Iterable[str], home: str, *, force: bool, path: str = ""
) -> tuple[Profile, bool]:
    """Write the profile for `invite`, with these names beside the one in it.

    Args:
        invite: what the server says.
        names: how else ssh calls it.
        home: the configuration directory.
        force: whether to take the profile of another user or server over.
        path: where the profile is, if not in the file named after the invite.

    Returns:
        The profile, and whether its file had to be written. That was told.

    Raises:
        SpasshError: it is not for us, or its name belongs to another.
    """
    path = path or os.path.join(profiles_directory(home), _file_name(invite))
    new = _profile(path, invite, names)
    old = _old_profile(path, new, force=force)
    if not invite.secret:
        new = _with_known_key(new, invite, old, home)
    if old:
        # What the invite does not say stays as somebody has set it.
        new = new._replace(
            hosts=merged(old.hosts, new.hosts),
            timeout=old.timeout,
            name=old.name,
            width=old.width,
            schedule=old.schedule,
            transport=old.transport,
            format=old.format,
            gnupg_key=old.gnupg_key,
            gnupg_server=old.gnupg_server,
        )
        if (old.server, old.user, old.secret) == (new.server, new.user, new.secret):
            # With another key, what was under way is of no use any more.
            new = new._replace(next_secret=old.next_secret, old_public=old.old_public)
    check_others(home, new)
    if new == old:
        _say(f"nothing to do: {path} has it all")
        return new, False
    make_directory(home)
    make_directory(profiles_directory(home))
    save(new)
    _say(f"{'updated' if old else 'wrote'} {path} for {' '.join(new.hosts)}")
    return new, True


def save(profile: Profile) -> None:
    """Write the file of a profile, in the place of the one that may be there.

    Raises:
        SpasshError: it cannot be written; the old one is as it was.
    """
    replace_file(profile.path, render(profile))


def render(profile: Profile) -> str:
    """Spell a profile as the text of its file."""
    hosts = ", ".join(map(toml_string, profile.hosts))
    lines = [
        "# Written by 'spassh import'. spassh.toml(5) explains the keys.",
        f"hosts = [{hosts}]",
        f"user = {toml_string(profile.user)}",
        f"server = {toml_string(profile.server)}",
        f"port = {profile.port}",
        f"psk = {toml_string(profile.psk)}",
    ]
    if profile.secret:
        lines.append(f"secret = {toml_string(profile.secret)}")
    if profile.invite:
        lines.append("invite = true")
    if profile.next_secret:
        lines.append(f"next_secret = {toml_string(profile.next_secret)}")
    if profile.old_public:
        lines.append(f"old_public = {toml_string(profile.old_public)}")
    if profile.timeout != DEFAULT_TIMEOUT:
        lines.append(f"timeout = {profile.timeout}")
    if profile.name:
        lines.append(f"name = {toml_string(profile.name)}")
    if profile.width != WIDTHS[0]:
        lines.append(f"width = {toml_string(profile.width)}")
    if profile.schedule:
        lines.append(f"schedule = {list(profile.schedule)}")
    if profile.transport != TRANSPORTS[0]:
        lines.append(f"transport = {toml_string(profile.transport)}")
    lines += _signing(profile)
    return "\n".join(lines) + "\n"


def _signing(profile: Profile) -> list[str]:
    """Spell how requests are made, unless that is as usual."""
    if profile.format == FORMATS[0]:
        return []
    return [
        f'format = "{profile.format}"',
        f'gnupg_key = "{profile.gnupg_key}"',
        f'gnupg_server = "{profile.gnupg_server}"',
    ]


def _check_names(names: list[str]) -> None:
    for name in names:
        try:
            check_host(name)
        except TextFormError as error:
            raise UsageError(
                f"--host: {error}", "give the name or address that you give to ssh"
            ) from error


def _read_invite(file: str, passphrase_file: str) -> Invite:
    data = _read_stdin() if file == "-" else _read_file(file)
    if len(data) > MAX_INVITE_BYTES:
        raise SpasshError(
            f"no invite: longer than {MAX_INVITE_BYTES} bytes",
            "an invite is one line that begins with 'spassh-'",
        )
    text = data.decode("ascii", "replace").strip()
    try:
        if is_sealed(text):
            return unseal(decode_sealed(text), passphrase_file)
        return decode_invite(text)
    except TextFormError as error:
        raise SpasshError(
            f"cannot read the invite: {error}",
            "copy all of the line that the server printed",
        ) from error


def _read_stdin() -> bytes:
    if os.isatty(_STDIN):
        write("paste the invite, then press Enter")
        # A terminal gives one line at a time, which is what an invite is.
        return os.read(_STDIN, MAX_INVITE_BYTES + 1)
    return _read_all(_STDIN)


def _read_file(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            return _read_all(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise SpasshError(
            f"cannot read {path}: {lower_reason(error)}",
            "give the file that holds the invite, or paste it to 'spassh import'",
        ) from error


def _read_all(fd: int) -> bytes:
    data = b""
    while len(data) <= MAX_INVITE_BYTES:
        chunk = os.read(fd, MAX_INVITE_BYTES + 1 - len(data))
        if not chunk:
            break
        data += chunk
    return data


def _file_name(invite: Invite) -> str:
    return invite.address.lower().removesuffix(".") + ".toml"


def _with_known_key(
    new: Profile, invite: Invite, old: Profile | None, home: str
) -> Profile:
    """Return the profile with the key of ours that the invite is for.

    That is the one of the profile that is there, or the client's own.

    Raises:
        ProfileError: it is for neither.
    """
    theirs = encode_key(PUBLIC, invite.client)
    if old and old.secret:
        # If it is damaged, it is not the one.
        with suppress(ProfileError):
            if public_key(old, home) == theirs:
                return new._replace(secret=old.secret, invite=old.invite)
    ours = public_half(load_own_key(home))
    if ours != theirs:
        raise ProfileError(
            own_key_path(home),
            f"the invite is for another key: {theirs}",
            f"have the server make an invite for this one: {ours}",
        )
    return new


def _profile(path: str, invite: Invite, names: Iterable[str]) -> Profile:
    return Profile(
        path,
        merged((invite.address,), names),
        invite.user,
        encode_key(PUBLIC, invite.server),
        encode_key(PSK, invite.psk),
        encode_key(SECRET, invite.secret) if invite.secret else "",
        invite.port,
        invite=bool(invite.secret),
    )


def _old_profile(path: str, new: Profile, *, force: bool) -> Profile | None:
    """Return the profile to merge with, if there is one that may be changed."""
    try:
        old = read_profile(path)
    except FileNotFoundError:
        return None
    except ProfileError as error:
        if force:
            return None
        raise ProfileError(
            path,
            "is there already, and cannot be used",
            f"'spassh import --force' replaces it; {error}",
        ) from error
    if old.fwknop:
        # The host has moved over, and a native profile takes the place of this one.
        return old._replace(fwknop=None, width=WIDTHS[0])
    if force or (old.server, old.user) == (new.server, new.user):
        return old
    what = "another server" if old.server != new.server else f"user {old.user}"
    raise ProfileError(
        path,
        f"belongs to {what}",
        f"'spassh import --force' replaces it, 'rm {shell_word(path)}' forgets it",
    )


def check_others(home: str, new: Profile) -> None:
    """See that no other profile names a host of ours: which would be used then?

    Raises:
        ProfileError: one does.
    """
    ours = {canonical(host): host for host in new.hosts}
    for path in profile_paths(home):
        if path == new.path:
            continue
        try:
            others = read_profile(path).hosts
        except (FileNotFoundError, ProfileError):
            continue  # A broken profile is told of at the logins that it concerns.
        for host in others:
            if canonical(host) in ours:
                raise ProfileError(
                    path,
                    f"names '{host}' already",
                    f"take the host out of it, or: rm {shell_word(path)}",
                )


def merged(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """Return all hosts of both, each in its first spelling."""
    hosts: dict[str | bytes, str] = {}
    for host in (*first, *second):
        hosts.setdefault(canonical(host), host)
    return tuple(hosts.values())


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
