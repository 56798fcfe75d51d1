"""A knock as a login sends it, and what the server saw of it."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from ..errors import UnreachableError, lower_reason
from ..knock import Knocker
from ..profile import Profile, load_keys
from ..resolve import Address, Resolving
from .remote import Grant, Spasshd
from .ssh import Settings

# As at a login: some NATs change the ports of TCP and not those of UDP, and there only
# a knock that names no port helps. And a datagram may be lost.
_NARROW: Final = (True, False, True, False)


class Seen(NamedTuple):
    """What the server saw of our knocks."""

    grants: list[Grant]
    """What it lets us in to, if one of them was granted."""
    grew: dict[str, int]
    """Which of its counters grew, and by how much."""


class _Witnessed(Knocker):
    """Keeps what it has sealed, to ask the server about it."""

    def __init__(self, *rest: Any, **named: Any) -> None:
        self.sealed: list[bytes] = []
        super().__init__(*rest, **named)

    def _seal(self, source_port: int) -> bytes:
        datagram = super()._seal(source_port)
        self.sealed.append(datagram)
        return datagram


class Prover:
    """Knocks at a server that is logged in to, and asks it what it saw."""

    def __init__(
        self,
        spasshd: Spasshd,
        settings: Settings,
        home: str,
        utc_ms: Callable[[], int],
        addresses: Sequence[Address] = (),
    ) -> None:
        """Knock as whom `home` says at what `settings` says, when it is `utc_ms`.

        The host is resolved before each knock, unless its `addresses` are known.
        """
        self._spasshd = spasshd
        self._settings = settings
        self._home = home
        self._utc_ms = utc_ms
        self._addresses = addresses

    def look(self, profile: Profile) -> Seen:
        """Knock until the server lets us in, a few times at most; return what it saw.

        Raises:
            SpasshError: the server does not say, or no knock could be sent.
        """
        return self._look(profile, lambda _: True)

    def knock(self, profile: Profile) -> list[Grant]:
        """Knock until the server lets us in, and return what it lets in.

        Raises:
            SpasshError: it does not.
        """
        return self._knock(profile, lambda _: True)

    def prove(self, profile: Profile) -> list[Grant]:
        """Do the same, and have the server say that it was our knock.

        Its counters alone do not: others are let in as well, and so are we, by the key
        that we had before.

        Raises:
            SpasshError: it does not.
        """
        return self._knock(profile, self._is_accepted)

    def _is_accepted(self, knocker: _Witnessed) -> bool:
        return any(map(self._spasshd.has_accepted, knocker.sealed))

    def _knock(
        self, profile: Profile, is_ours: Callable[[_Witnessed], bool]
    ) -> list[Grant]:
        grants, grew = self._look(profile, is_ours)
        if not grants:
            raise self._spasshd.shut(grew, profile.port)
        return grants

    def _look(self, profile: Profile, is_ours: Callable[[_Witnessed], bool]) -> Seen:
        before = self._spasshd.running_status().counters
        keys = load_keys(profile, self._home)
        host, port = profile.name or self._settings.host, self._settings.port
        grew: dict[str, int] = {}
        for narrow in _NARROW:
            knocker = _Witnessed(
                profile, keys, port, self._utc_ms, os.urandom, narrow=narrow
            )
            addresses = self._addresses or Resolving(host, port).wait()
            _knock_everywhere(knocker, host, addresses, narrow=narrow)
            after = self._spasshd.running_status()
            grew = {
                name: count - before.get(name, 0)
                for name, count in after.counters.items()
                if name != "frames" and count > before.get(name, 0)
            }
            # Not every packet filter keeps whose a grant is.
            grants = _longest(
                one for one in after.grants if one.user in {profile.user, ""}
            )
            if grants and "granted" in grew and is_ours(knocker):
                return Seen(grants, grew)
        return Seen([], grew)


def _longest(grants: Iterable[Grant]) -> list[Grant]:
    """Return one grant for each address and port: each flow has one of its own."""
    found: dict[tuple[str, str], Grant] = {}
    for one in grants:
        place = (one.address, one.port)
        if place not in found or one.seconds_left > found[place].seconds_left:
            found[place] = one
    return list(found.values())


def told(grant: Grant) -> str:
    """Say what a grant lets in."""
    return (
        f"test knock: the server lets {grant.address} reach {grant.port}"
        f" for {grant.seconds_left} s"
    )


def _knock_everywhere(
    knocker: Knocker, host: str, addresses: Sequence[Address], *, narrow: bool
) -> None:
    """Knock at every address of the host that there is a way to."""
    sent, problem = False, ""
    for address in addresses:
        try:
            # Nobody connects, so the port that was named is of no use.
            knocker.knock(address, narrow=narrow).close()
            sent = True
        except OSError as error:
            problem = problem or lower_reason(error)
    if not sent:
        raise UnreachableError(
            f"cannot reach {host}: {problem}",
            "see that the network is up, and that no firewall of this computer"
            " forbids it",
        )
