"""Whether systemd starts spasshd when the computer boots."""

from typing import Final, NamedTuple

from ..firewall import FirewallError
from ..firewall.run import run
from ..systemd import is_service_manager

UNIT: Final = "spasshd.service"

_PROPERTIES: Final = ("LoadState", "UnitFileState", "ActiveState")


class Service(NamedTuple):
    """What systemd says of the unit. All empty where there is no systemd."""

    load: str = ""
    """loaded, not-found, masked, ..."""
    enabled: str = ""
    """enabled, disabled, static, ..."""
    active: str = ""
    """active, inactive, failed, ..."""
    problem: str = ""

    @property
    def may_start_again(self) -> bool:
        """Whether systemd may start it, though nobody asks for that and none boots."""
        over = self.active in {"", "inactive", "failed"}
        return bool(self.problem) or not over


def ask_systemd() -> Service:
    """Ask for the unit; at most 10 seconds."""
    if not is_service_manager():
        return Service()
    try:
        answer = run(
            "systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", UNIT
        )
    except FirewallError as error:
        return Service(problem=str(error))
    return parse_properties(answer.decode(errors="replace"))


def parse_properties(text: str) -> Service:
    """Read NAME=VALUE lines."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return Service(*(values.get(name, "") for name in _PROPERTIES))
