"""`spassh lock` and `spassh unlock`: have a server shut its SSH port, or open it again.

To lock is a commit with a confirmation. The server drops on trial, and opens again by
itself unless it is told in time, in a login made after that and let in by a knock made
after that, that we got in. The login that works now stays open meanwhile, and rolls
back at once if something goes wrong. So wherever this is interrupted, either the server
is open as before, or we have been in.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import SpasshError
from ..proxy import Clocks
from ..ui import Tell
from .remote import NotBegunError, Spasshd
from .saying import say
from .ssh import Settings, Ssh, Target
from .terminal import ask_password


class _Trial:
    """What there is to be rolled back."""

    is_mine = True
    """Until the server says that there was nothing to begin, there may be something."""


def lock(target: Target, clocks: Clocks, tell: Tell) -> None:
    """Have the server drop the port of ssh, and show that we get in all the same.

    Raises:
        SpasshError: it is open as before, at once or when the trial ends. Or it was
            shut before, and then it still is.
    """
    ssh = Ssh(target, clocks.monotonic, tell)
    settings = ssh.settings()
    if not settings.goes_through_spassh:
        raise SpasshError(
            f"ssh does not go through spassh to {target.host}",
            f"begin with 'spassh enroll {target.said}'",
        )
    port = f"tcp/{settings.port}"
    with ssh.session(target.ask_doctor):
        spasshd = _spasshd(ssh, target, settings)
        spasshd.running_status()
        with _rolling_back(spasshd, target) as trial:
            trial.is_mine = _begin(spasshd, port, trial)
            how = "on trial" if trial.is_mine else "already"
            say(f"{target.host} drops {port} {how}; now to get in all the same")
            becomes = "opens again" if trial.is_mine else "stays shut"
            hint = f"the port {becomes}: {target.ask_doctor}"
            anew = Ssh(target, clocks.monotonic, tell)
            with anew.session(hint):
                say("got in: knocked, and logged in anew")
                if trial.is_mine:
                    spasshd.over(anew).confirm()
    say(f"locked: {target.host} drops {port} for everybody without a knock")


def unlock(target: Target, clocks: Clocks, tell: Tell) -> None:
    """Have the server drop the port of ssh no more.

    Raises:
        SpasshError: that did not work.
    """
    ssh = Ssh(target, clocks.monotonic, tell)
    settings = ssh.settings()
    port = f"tcp/{settings.port}"
    with ssh.session(target.ask_doctor):
        _spasshd(ssh, target, settings).unprotect(port)
    say(f"unlocked: {target.host} does not drop {port} any more")


def _spasshd(ssh: Ssh, target: Target, settings: Settings) -> Spasshd:
    return Spasshd(ssh, target.host, settings.login, ask_password)


def _begin(spasshd: Spasshd, port: str, trial: _Trial) -> bool:
    try:
        return spasshd.protect(port)
    except NotBegunError:
        trial.is_mine = False
        raise


@contextmanager
def _rolling_back(spasshd: Spasshd, target: Target) -> Iterator[_Trial]:
    """Have the server roll back at once, instead of in time, if something goes wrong.

    Ctrl-C is something, and so is an answer that did not arrive.
    """
    trial = _Trial()
    try:
        yield trial
    except BaseException:
        if trial.is_mine:
            back = False
            with suppress(SpasshError, KeyboardInterrupt):
                back = spasshd.roll_back()
            what = "rolled back" if back else "what is not confirmed ends by itself"
            say(f"{target.host}: {what}")
        raise
