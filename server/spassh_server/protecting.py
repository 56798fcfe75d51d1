"""What the verbs do that change which ports are dropped."""

import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from . import control, events
from .config import Config
from .files import read_private, replace
from .ports import Port
from .protect_line import with_protect

Ports = tuple[Port, ...]


def listed(ports: Iterable[Port]) -> str:
    """Name the ports."""
    return ", ".join(map(str, ports))


def rewrite(settings: Config, change: Callable[[Ports], Ports]) -> Ports:
    """Change what the configuration file protects; return what it protects now.

    Its mode stays, and so does a link that leads to it.

    Raises:
        ConfigError: the file is wrong, or cannot be changed by a program.
        OSError: it cannot be written.
    """
    path = os.path.realpath(settings.path)
    with _one_at_a_time(os.path.dirname(path)):
        text = read_private(path, secret=False)
        ports = change(settings.protect)
        changed = with_protect(text, settings.path, ports)
        if changed != text:
            mode = stat.S_IMODE(os.stat(path).st_mode)
            replace(path, changed, mode=mode)
    return ports


def have_applied(settings: Config) -> bool:
    """Have the daemon do what the files say now; say why if it does not.

    Raises:
        NotRunningError: there is none.
    """
    answer = control.ask(settings.run_dir, control.PROTECT)
    problem = answer.get("error")
    if problem:
        events.error(problem)
    return not problem


@contextmanager
def _one_at_a_time(directory: str) -> Iterator[None]:
    """Keep others out who would change the file from what it was before."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
