"""spasshd on a server, asked over ssh: by root, or by a login that may use sudo(8).

sudo gets its password on standard input (`sudo -S`) and not from a terminal of its own
(`ssh -t`). A terminal would mix what spasshd prints with the prompt, the errors and the
echo, and every answer would have to be told from them; and it would be asked once for
each command. So it is asked here, once, and only if sudo says that it wants one.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..errors import NoSpasshdError, SpasshError
from ..protocol.errors import TextFormError
from ..protocol.finding import Finding, decode_findings
from ..protocol.invite import Invite, decode_invite
from .ssh import Done, Ssh

AskPassword = Callable[[str], str | None]
"""Asks with a prompt; None if there is nobody to ask."""

_PASSWORD_TRIES: Final = 3
_PROMPT: Final = "password:"
_NOT_FOUND: Final = 127

# LC_ALL=C makes these the words in every country.
_WANTS_PASSWORD: Final = re.compile(
    r"sudo: (a password is required|no password was provided|.*incorrect password|"
    # sudo-rs
    r"interactive authentication is required|.*[Aa]uthentication failed)"
)
_MISSING: Final = re.compile(r"command not found|No such file|not found")
_ERROR: Final = re.compile(r"spasshd: error: (.*)")
_HINT: Final = re.compile(r"spasshd: hint: (.*)")
_NO_SUCH_KEY: Final = re.compile(r"spasshd: error: user '[^']*' has no such key")
_KEY_OWNER: Final = re.compile(r"the key belongs to user '([^']*)' already")

_ARMOUR: Final = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n.+?\n-----END PGP PUBLIC KEY BLOCK-----\n",
    re.DOTALL,
)

_WITHOUT_GPG: Final = re.compile(r"spasshd: note .*it has begun without gpg")

_ON_TRIAL: Final = re.compile(r"on trial for [0-9]+ s: ")
_PROTECTED: Final = "protected already: "
_ROLLED_BACK: Final = "rolled back: "

_HINTS: Final = {
    "stale": "see that the clocks of both computers are right",
    "refused": "see the user's ports and widths on the server, and in its log the"
    " reason",
    "unauthentic": "restart spasshd there: it may run with other keys",
    "granted": "that was somebody else, or spasshd cannot write down what it accepts:"
    " see 'spasshd status' there",
}
"""What to do, by the counter that grew."""


class Grant(NamedTuple):
    """Whom the server lets in now."""

    user: str
    address: str
    port: str
    seconds_left: int


class Status(NamedTuple):
    """What `spasshd status` says."""

    running: bool
    counters: dict[str, int]
    grants: tuple[Grant, ...]


class Signed(NamedTuple):
    """What comes back for a user who signs."""

    invite: Invite
    openpgp: str
    """The server's OpenPGP key, armoured."""
    must_restart: bool
    """Whether spasshd runs there and cannot open signed requests yet."""


class NotBegunError(SpasshError):
    """The server has refused to begin a trial, so there is none of ours."""


class Spasshd:
    """Runs verbs of spasshd on a server."""

    def __init__(
        self, ssh: Ssh, host: str, login: str, ask_password: AskPassword
    ) -> None:
        """Run them over `ssh`, in a session of it; `host` is for what is said."""
        self._ssh = ssh
        self._host = host
        self._login = login
        self._ask_password = ask_password
        self._password = ""

    def add(self, name: str, public: str, address: str, beside: str = "") -> Invite:
        """Make the user known, and return the invite.

        With `beside`, which is a key that the user has, this is one more key.

        Raises:
            SpasshError: that did not work.
        """
        words = ("--beside", beside) if beside else ()
        return self._add(name, public, address, words, beside=beside)[0]

    def add_signing(self, name: str, public: str, address: str, openpgp: str) -> Signed:
        """Make a user known who signs with the armoured public key `openpgp`.

        Raises:
            SpasshError: that did not work.
        """
        words, stdin = ("--gnupg", "-"), openpgp.encode()
        invite, done = self._add(name, public, address, words, stdin=stdin)
        found = _ARMOUR.search(done.output)
        if found is None:
            raise SpasshError(
                f"no OpenPGP key came from {self._host}",
                "update spasshd there, if it does not know 'user add --gnupg'",
            )
        return Signed(invite, found[0], bool(_WITHOUT_GPG.search(done.errors)))

    def _add(
        self,
        name: str,
        public: str,
        address: str,
        more: tuple[str, ...],
        *,
        stdin: bytes = b"",
        beside: str = "",
    ) -> tuple[Invite, Done]:
        words = ("user", "add", name, "--key", public, "--address", address)
        done = self._run(*words, *more, stdin=stdin)
        if done.status:
            raise self._refused(done, name, beside)
        found = {line.strip() for line in done.output.splitlines() if _is_invite(line)}
        if len(found) != 1:
            raise SpasshError(
                f"no invite came from {self._host}",
                f"'spasshd user add {name}' has to print one there",
            )
        return decode_invite(found.pop()), done

    def remove_key(self, name: str, public: str) -> None:
        """Take a key of a user away, unless it is gone already.

        Raises:
            SpasshError: that did not work.
        """
        done = self._run("user", "remove", name, "--key", public)
        if done.status and not _NO_SUCH_KEY.search(done.errors):
            raise self._failed(done)

    def has_accepted(self, datagram: bytes) -> bool:
        """Tell whether spasshd has accepted this very datagram.

        Raises:
            SpasshError: that cannot be told.
        """
        # Where it came from does not matter: what was accepted is known by its hash.
        done = self._run("explain", datagram.hex(), "--source", "127.0.0.1", "--json")
        for line in done.output.splitlines():
            steps = _steps(line)
            if steps:
                return steps.get("handshake") is True and steps.get("replay") is False
        raise self._failed(done)

    def status(self) -> Status:
        """Return the counters and the live grants.

        Raises:
            SpasshError: that did not work.
        """
        done = self._run("status", "--json")
        for line in done.output.splitlines():
            status = _status(line)
            if status:
                return status
        if done.status:
            raise self._failed(done)
        raise self._nonsense()

    def findings(self) -> list[Finding]:
        """Return what `spasshd doctor` finds there.

        Raises:
            SpasshError: that did not work.
        """
        done = self._run("doctor", "--json")
        for line in done.output.splitlines():
            try:
                answer = json.loads(line)
                return decode_findings(answer["findings"])
            except (ValueError, TypeError, KeyError, RecursionError):
                continue  # What some start-up file of the shell prints.
        raise self._failed(done)

    def running_status(self) -> Status:
        """Do the same, and see that spasshd runs.

        Raises:
            SpasshError: it does not, or that did not work.
        """
        status = self.status()
        if not status.running:
            raise SpasshError(
                f"spasshd on {self._host} is not running",
                "start it there, and try again",
            )
        return status

    def over(self, ssh: Ssh) -> "Spasshd":
        """Return the same over another session, with the password that sudo took."""
        other = Spasshd(ssh, self._host, self._login, self._ask_password)
        other._password = self._password
        return other

    def protect(self, port: str) -> bool:
        """Have `port` dropped on trial; return False if it is dropped for good already.

        Raises:
            NotBegunError: it is not: the server has said no.
            SpasshError: that is not known.
        """
        done = self._run("protect", port)
        if done.status:
            failed = self._failed(done)
            raise NotBegunError(str(failed), failed.hint)
        on_trial = any(_ON_TRIAL.match(line) for line in done.output.splitlines())
        if not on_trial and _PROTECTED not in done.output:
            raise self._nonsense()
        return on_trial

    def confirm(self) -> None:
        """Make what is on trial last.

        Raises:
            SpasshError: it does not, or that is not known.
        """
        self._succeed("confirm")

    def roll_back(self) -> bool:
        """End the trial; return False if there was none.

        Raises:
            SpasshError: it goes on, or that is not known.
        """
        return _ROLLED_BACK in self._succeed("protect", "--roll-back").output

    def unprotect(self, port: str) -> None:
        """Have `port` dropped no more.

        Raises:
            SpasshError: it is, or that is not known.
        """
        self._succeed("unprotect", port)

    def shut(self, grew: dict[str, int], knock_port: int) -> SpasshError:
        """Return what to say when no knock was granted, by the counters that grew."""
        if not grew:
            return SpasshError(
                f"no knock arrived at {self._host}",
                f"see that nothing on the way drops UDP to its port {knock_port}",
            )
        seen = ", ".join(f"{name} {grew[name]}" for name in sorted(grew))
        hints = (hint for name, hint in _HINTS.items() if name in grew)
        return SpasshError(
            f"{self._host} did not let the knock in: {seen}",
            next(hints, "see the log of spasshd there"),
        )

    def _nonsense(self) -> SpasshError:
        return SpasshError(
            f"the answer of spasshd on {self._host} makes no sense",
            "update spassh on both sides: they are of different ages",
        )

    def _succeed(self, *words: str) -> Done:
        """Run a verb of spasshd that has to succeed."""
        done = self._run(*words)
        if done.status:
            raise self._failed(done)
        return done

    def _run(self, *words: str, stdin: bytes = b"") -> Done:
        if self._login == "root":
            return self._ssh.run("env", "LC_ALL=C", "spasshd", *words, stdin=stdin)
        if self._password:
            return self._with_password(*words, stdin=stdin)
        sudo = ("env", "LC_ALL=C", "sudo", "-n", "spasshd")
        done = self._ssh.run(*sudo, *words, stdin=stdin)
        tries = 0
        while tries < _PASSWORD_TRIES and _asks_for_password(done):
            tries += 1
            password = self._ask_password(
                f"sudo password of {self._login} on {self._host}: "
            )
            if password is None:
                raise SpasshError(
                    f"sudo on {self._host} wants a password, and there is no terminal"
                    " to ask for it",
                    "do this in a terminal, or as root",
                )
            self._password = password
            done = self._with_password(*words, stdin=stdin)
        return done

    def _with_password(self, *words: str, stdin: bytes = b"") -> Done:
        sudo = ("env", "LC_ALL=C", "sudo", "-S", "-p", _PROMPT, "spasshd")
        # sudo takes the first line, and leaves the rest to spasshd.
        line = self._password.encode("utf-8", "surrogateescape") + b"\n"
        done = self._ssh.run(*sudo, *words, stdin=line + stdin)
        return done._replace(errors=done.errors.replace(_PROMPT, "\n"))

    def _refused(self, done: Done, name: str, beside: str) -> SpasshError:
        """Say why there is no such user, if that was spasshd's reason."""
        said = _ERROR.search(done.errors)
        error = said[1] if said else ""
        if error.startswith(f"user '{name}' exists already"):
            return SpasshError(
                f"{self._host} has a user {name} with another key",
                f"take another name with --name, or there: spasshd user remove {name}",
            )
        if _NO_SUCH_KEY.search(done.errors):
            return SpasshError(
                f"{self._host} does not know the key of user {name} any more",
                "'spassh forget' the profile, and enroll over an ssh that works",
            )
        owner = _KEY_OWNER.match(error)
        if owner and owner[1] == name:
            return SpasshError(
                f"spasshd on {self._host} does not print the invite of user {name}"
                " again",
                f"it is too old for that; there: spasshd user remove {name}",
            )
        if owner:
            first = "'spassh forget' the profile, and then " if beside else ""
            return SpasshError(
                f"{self._host} knows this key as user {owner[1]}",
                f"{first}enroll with --name {owner[1]}",
            )
        return self._failed(done)

    def _failed(self, done: Done) -> SpasshError:
        said = _ERROR.search(done.errors)
        if said:
            remedy = _HINT.search(done.errors)
            hint = f"there: {remedy[1]}" if remedy else "see there: spasshd check"
            return SpasshError(f"spasshd on {self._host}: {said[1]}", hint)
        missing = done.status == _NOT_FOUND or _MISSING.search(done.complaint)
        if missing and "spasshd" in done.complaint:
            return NoSpasshdError(
                f"{self._host} has no spasshd",
                "install it there, where root's PATH (for sudo, secure_path) leads",
            )
        if missing:
            return SpasshError(
                f"{self._host} has no sudo", f"log in as root: root@{self._host}"
            )
        if self._login != "root":
            return SpasshError(
                f"sudo on {self._host} does not run spasshd: {done.complaint}",
                f"let {self._login} use it, or log in as root: root@{self._host}; or"
                " have somebody there make you an invite: 'spasshd user add'",
            )
        return SpasshError(
            f"spasshd on {self._host}: {done.complaint}",
            "see there: spasshd check",
        )


def _asks_for_password(done: Done) -> bool:
    return bool(done.status and _WANTS_PASSWORD.search(done.errors))


def _is_invite(line: str) -> bool:
    try:
        decode_invite(line.strip())
    except TextFormError:
        # A greeting that some start-up file of the shell prints, or the like.
        return False
    return True


def _steps(line: str) -> dict[str, bool]:
    """Return which steps of `spasshd explain` were passed; none for another line."""
    try:
        steps = {step["name"]: step["passed"] for step in json.loads(line)["steps"]}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return steps if all(type(one) is bool for one in steps.values()) else {}


def _status(line: str) -> Status | None:
    """Read the line that is the status, and no other that may stand around it."""
    try:
        state = json.loads(line)
        running = state["running"]
        counters = state["counters"] if running else {}
        whole = type(running) is bool and all(
            type(one) is int for one in counters.values()
        )
        grants = tuple(map(_grant, state["grants"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Status(running, counters, grants) if whole else None


def _grant(entry: dict[str, Any]) -> Grant:
    user, address, port = entry["user"], entry["address"], entry["port"]
    seconds = entry["seconds_left"]
    if any(type(text) is not str for text in (user, address, port)):
        raise TypeError
    if type(seconds) is not int:
        raise TypeError
    return Grant(user, address, port, seconds)
