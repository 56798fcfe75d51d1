"""What can go wrong for the user: one sentence, a hint, and an exit code.

The exit codes are documented in spassh(1), and each message is in its DIAGNOSTICS.
"""


class SpasshError(Exception):
    """A failure that is told in one sentence, with a hint where there is a remedy."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NoSpasshdError(SpasshError):
    """There is no spasshd on the server."""


class UsageError(SpasshError):
    """The command line is wrong."""

    exit_code = 2


class ProfileError(SpasshError):
    """A profile or a key cannot be used. The message begins with the file's name."""

    exit_code = 3

    def __init__(self, path: str, problem: str, hint: str) -> None:
        super().__init__(f"{path}: {problem}", hint)


class ResolveError(SpasshError):
    """The host's name has no address."""

    exit_code = 4


class UnreachableError(SpasshError):
    """No packet gets to the host, or none may leave this computer for it."""

    exit_code = 5


class ShutError(SpasshError):
    """The port gave no answer within the time."""

    exit_code = 6


class RefusedError(SpasshError):
    """The host answers, and nobody serves the port."""

    exit_code = 7


def lower_reason(error: OSError) -> str:
    """Return the system's words for `error`, in the case of our own messages."""
    reason = error.strerror or str(error) or "unknown reason"
    return reason[:1].lower() + reason[1:]
