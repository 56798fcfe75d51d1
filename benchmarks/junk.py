"""What a stranger's packet costs the listener, which drops it and says nothing.

Each kind has the right size and form, and is judged as the daemon does it: parse, then
one format after the other. Of the native kind, the kernel lets none through where it
can check the tag: see `junk_flood`.
"""

import os
from base64 import b64encode
from time import perf_counter

from figures import Figures
from unit.server.fwknop_parties import BY_GNUPG, gnupg_packet

from spassh.protocol.errors import NotOurs
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.openpgp import Hmac
from spassh.protocol.limits import ACCESS_DATAGRAM
from spassh.protocol.opening import ServerKeys
from spassh_server.envelope import Envelope, Opener
from spassh_server.fwknop_keys import FwknopGnupgKey, FwknopKey
from spassh_server.openers.fwknop import FwknopOpener
from spassh_server.openers.native import NativeOpener
from spassh_server.users import User, Users

_PACKETS = 500
_FWKNOP_SIZE = 204
"""Characters of the usual packet of fwknop: seven blocks and a tag of SHA-256."""


def measure(runs: int) -> list[Figures]:
    """Measure each kind in turn: the mean of some hundred packets is one value."""
    native = [os.urandom(ACCESS_DATAGRAM) for _ in range(_PACKETS)]
    fwknop = [b"9" + b64encode(os.urandom(153))[1:] for _ in range(_PACKETS)]
    assert {len(one) for one in fwknop} == {_FWKNOP_SIZE}
    # A packet of this size has no HMAC if it is to be decrypted.
    bare = [packet[:161] for packet in fwknop]
    # Another key's HMAC is as wrong as noise, and has the right form.
    enclosed = [gnupg_packet(Hmac(os.urandom(64))) for _ in range(_PACKETS)]
    kinds = {
        "native": (native, _envelope()),
        "fwknop, 1 key": (fwknop, _envelope(*_keys(1))),
        "fwknop, 100 keys": (fwknop, _envelope(*_keys(100))),
        "fwknop by GnuPG, 1 key": (enclosed, _envelope(BY_GNUPG)),
        "fwknop, 1 key without HMAC": (bare, _envelope(FwknopKey(Keys(b"k")))),
    }
    values: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(runs):
        for kind, (packets, envelope) in kinds.items():
            values[kind].append(_time(packets, envelope))
    return [
        Figures(f"a stranger's packet, {kind}", found, [], "", "us")
        for kind, found in values.items()
    ]


def _keys(count: int) -> list[FwknopKey]:
    return [FwknopKey(Keys(os.urandom(32), os.urandom(64))) for _ in range(count)]


def _envelope(*keys: FwknopKey | FwknopGnupgKey) -> Envelope:
    user = User("bench", (), frozenset(), 15, 15, (), False)._replace(
        fwknop=tuple(one for one in keys if isinstance(one, FwknopKey)),
        fwknop_gnupg=tuple(one for one in keys if isinstance(one, FwknopGnupgKey)),
    )
    users = Users([user])
    openers: list[Opener] = [NativeOpener(ServerKeys(os.urandom(32)), users)]
    if keys:
        openers.append(FwknopOpener(lambda: users))
    return Envelope(openers)


def _time(packets: list[bytes], envelope: Envelope) -> float:
    """Return the microseconds that one of these takes."""
    began = perf_counter()
    for packet in packets:
        try:
            envelope.open(packet)
        except NotOurs:
            continue
        raise AssertionError("a stranger's packet was opened")
    return (perf_counter() - began) / len(packets) * 1e6
