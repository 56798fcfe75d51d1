"""What this machine is: the names that its maker has left in it."""

from typing import Final, NamedTuple

_DIRECTORY: Final = "/sys/class/dmi/id"
_MOST_BYTES: Final = 256


class Machine(NamedTuple):
    """Names from DMI, any of which may be empty."""

    vendor: str = ""
    product: str = ""
    asset: str = ""
    """The chassis' asset tag, by which some clouds are told."""
    bios: str = ""


def read_machine() -> Machine:
    """Read the names."""
    names = ("sys_vendor", "product_name", "chassis_asset_tag", "bios_version")
    return Machine(*map(_read, names))


def _read(name: str) -> str:
    try:
        with open(f"{_DIRECTORY}/{name}", "rb") as file:
            return file.read(_MOST_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return ""
