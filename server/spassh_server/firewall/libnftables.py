"""libnftables in this process: a grant costs no fork, and any Python can do it.

The `nftables` module of Debian's python3-nftables is not importable in a virtual
environment, so this binds the same library by ctypes. See libnftables(3).
"""

import ctypes
import json
import socket
from typing import Any, Final

from . import FirewallError

LIBRARY: Final = "libnftables.so.1"
_HINT = "apt install nftables"

# nftables/libnftables.h
_OUTPUT_JSON: Final = 1 << 4
_OUTPUT_NUMERIC_PROTO: Final = 1 << 7

# linux/netlink.h
_NETLINK_NETFILTER = 12


class LibNftables:
    """The library with one context, which is opened when it is needed.

    What is read through it must be about our own table, or chains in general: listings
    in JSON of some other things make version 1.0.6 read freed memory (the flags of a
    table) and would take this process with it.
    """

    def __init__(self) -> None:
        self._library: ctypes.CDLL | None = None
        self._context: int | None = None

    def __del__(self) -> None:
        self.close()

    def load(self) -> ctypes.CDLL:
        """Return the library, which is loaded when it is first needed.

        Raises:
            FirewallError: it is not installed.
        """
        if self._library is None:
            self._library = _load()
        return self._library

    def run(self, script: str) -> None:
        """Apply `script` as one transaction.

        Raises:
            FirewallError: it was refused, and nothing of it was applied.
        """
        self._command(script, flags=0)

    def check(self, script: str) -> None:
        """Have the kernel judge `script` without applying it.

        Raises:
            FirewallError: it would be refused.
        """
        library, context = self._open()
        library.nft_ctx_set_dry_run(context, True)
        try:
            self._command(script, flags=0)
        finally:
            self.close()  # and with it goes the dry run

    def read(self, command: str, kind: str) -> list[dict[str, Any]]:
        """Return the objects of one `kind`, such as "chain", that `command` lists."""
        text = self._command(command, flags=_OUTPUT_JSON | _OUTPUT_NUMERIC_PROTO)
        return parse_listing(text, kind)

    def close(self) -> None:
        """Free the context and its netlink socket. The next use opens another."""
        if self._library is not None and self._context is not None:
            self._library.nft_ctx_free(self._context)
        self._context = None

    def _open(self) -> tuple[ctypes.CDLL, int]:
        library = self.load()
        if self._context is None:
            self._context = _new_context(library)
        return library, self._context

    def _command(self, text: str, flags: int) -> bytes:
        library, context = self._open()
        library.nft_ctx_output_set_flags(context, flags)
        failed = library.nft_run_cmd_from_buffer(context, text.encode())
        # Both have to be fetched each time, or they would keep what is in them.
        output: bytes = library.nft_ctx_get_output_buffer(context)
        errors: bytes = library.nft_ctx_get_error_buffer(context)
        if failed:
            # Who knows what is left in it. To close its socket may take 20 ms.
            self.close()
            raise FirewallError(f"nftables: {_first_line(errors)}")
        return output


def parse_listing(text: bytes, kind: str) -> list[dict[str, Any]]:
    """Return the objects of one `kind` in a listing in JSON, libnftables-json(5).

    Raises:
        FirewallError: `text` is no such listing.
    """
    try:
        listing = json.loads(text.decode(errors="replace"))["nftables"]
    except (ValueError, KeyError, TypeError) as error:
        raise FirewallError("nftables: it lists nothing in JSON", _HINT) from error
    return [entry[kind] for entry in listing if kind in entry]


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise FirewallError(f"nftables: {error}", _HINT) from error
    context = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_new.restype = context
    library.nft_ctx_free.argtypes = [context]
    library.nft_ctx_free.restype = None
    for buffer in (library.nft_ctx_buffer_output, library.nft_ctx_buffer_error):
        buffer.argtypes = [context]
    for get in (library.nft_ctx_get_output_buffer, library.nft_ctx_get_error_buffer):
        get.argtypes = [context]
        get.restype = ctypes.c_char_p
    library.nft_ctx_output_set_flags.argtypes = [context, ctypes.c_uint]
    library.nft_ctx_output_set_flags.restype = None
    library.nft_ctx_set_dry_run.argtypes = [context, ctypes.c_bool]
    library.nft_ctx_set_dry_run.restype = None
    library.nft_run_cmd_from_buffer.argtypes = [context, ctypes.c_char_p]
    return library


def _new_context(library: ctypes.CDLL) -> int:
    # nft_ctx_new ends the whole process if it gets no netlink socket, so try it first.
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER).close()
    except OSError as error:
        raise FirewallError(f"nftables: netlink: {error.strerror}") from error
    context: int | None = library.nft_ctx_new(0)
    if context is None:
        raise FirewallError("nftables: no memory for a context")
    if library.nft_ctx_buffer_output(context) or library.nft_ctx_buffer_error(context):
        library.nft_ctx_free(context)
        raise FirewallError("nftables: no memory for the buffers of a context")
    return context


def _first_line(complaint: bytes) -> str:
    lines = complaint.decode(errors="replace").splitlines()
    return lines[0].removeprefix("Error: ") if lines else "it said nothing"
