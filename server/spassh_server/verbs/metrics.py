"""spasshd metrics: the daemon's state for Prometheus."""

import os
from argparse import Namespace

from .. import config, metrics
from .status import state_of


def run(options: Namespace) -> int:
    """Print the metrics, or replace a file by them; exit 3 if nothing runs."""
    state = state_of(config.load(options.config))
    text = metrics.render(state)
    if options.output:
        _replace(os.path.abspath(options.output), text)
    else:
        print(text, end="")
    return 0 if state["running"] else 3


def _replace(path: str, text: str) -> None:
    """Make `path` a file with that text, readable by all; nobody sees half of it."""
    # The collector of node_exporter reads *.prom, and so not this one.
    temporary = f"{path}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o644)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
