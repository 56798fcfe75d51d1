"""How spasshd is spoken to on this host: what remedies consist of. Pure."""

from shlex import quote
from typing import NamedTuple

from ..config import DEFAULT_PATH
from .service import UNIT


class Commands(NamedTuple):
    """Depends on whose configuration it is, and on whether there is systemd."""

    config: str
    """The path of the configuration."""
    has_systemd: bool

    @property
    def is_service(self) -> bool:
        """Whether the daemon in question is that of the unit that we ship."""
        return self.has_systemd and self.config == DEFAULT_PATH

    @property
    def start(self) -> str:
        """What starts the daemon."""
        return f"systemctl start {UNIT}" if self.is_service else self.spasshd("run")

    @property
    def restart(self) -> str:
        """What starts it anew."""
        if self.is_service:
            return f"systemctl restart {UNIT}"
        return f"{self.spasshd('stop')}; {self.spasshd('run')}"

    def spasshd(self, verb: str) -> str:
        """Return the command line of a verb of spasshd."""
        option = (
            "" if self.config == DEFAULT_PATH else f" --config {quote(self.config)}"
        )
        return f"spasshd {verb}{option}"
