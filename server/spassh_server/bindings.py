"""scapy's bindings of libpcap.

scapy has the library found by ctypes, which believes the linker's cache alone. apt
starts a service before that is made anew: on a host that has just got libpcap it is not
in there yet, and the linker opens it all the same.
"""

import ctypes
from ctypes import util
from typing import Any, Final

_SONAMES: Final = ("libpcap.so.0.8", "libpcap.so.1")
"""What the library is called by Debian, and by everybody else on Linux."""


def _bindings() -> Any:
    find = util.find_library

    def found(name: str) -> str | None:
        return find(name) or next(filter(_opens, _SONAMES), None)

    util.find_library = found
    try:
        from scapy.libs import winpcapy  # It looks when it is imported.
    except OSError as error:
        raise ImportError(str(error), name="libpcap") from error
    finally:
        util.find_library = find
    return winpcapy


def _opens(soname: str) -> bool:
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


pcap: Any = _bindings()
"""The module `scapy.libs.winpcapy`.

Raises:
    ImportError: there is no scapy, or no libpcap; `name` says which.
"""
