"""The granter: the one program that writes the firewall. It never sees a network byte.

It trusts the listener with nothing but "an authentic user asked for this": ports,
lifetimes, commands and the number of grants are checked again, against its own reading
of the configuration. It leaves when the listener does.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from ipaddress import ip_network
from struct import pack

from .. import config, events
from ..addresses import place, text
from ..clock import wall_clock
from ..firewall import ActiveGrant, Firewall, FirewallError, Network
from ..firewall.attempts import attempt_all
from ..firewall.bsd_sessions import established
from ..firewall.select import choose, others
from ..firewall.sessions import SOCKET_TABLES, Session, begun_sessions
from ..firewall.watch import Watch
from ..limits import OTHER_LINES_PER_SECOND, REPAIR_SECONDS
from ..ports import Port
from ..toml import ConfigError
from . import message
from .bounds import Bounds
from .handout import Handout
from .ledger import Ledger
from .message import Answer, GrantMessage, MessageError, Revoke, RunMessage, Wanted
from .programs import Programs
from .proofs import Proofs
from .protection import Make, Protection
from .sandbox import CAP_NET_ADMIN, CAP_NET_RAW, SandboxError, keep_capabilities

_SWEEP_SECONDS = 60
"""Longest time between two sweeps while there is something to expire."""
_SWEEP_AGAIN_SECONDS = 1
"""Between a sweep that failed and the next."""


class Granter:
    """Answers the listener's messages until it leaves."""

    def __init__(
        self,
        sock: socket.socket,
        settings: config.Config,
        firewall: Firewall,
        *,
        handout: Handout,
        programs: Programs,
        poll: select.poll,
        make: Make,
        watch: Watch | None = None,
        others: Sequence[Firewall] = (),
    ) -> None:
        """Take our end of the socket, and what we work with.

        `poll` is the one that `programs` registers its children with. `make` makes a
        firewall like `firewall` with other settings. `watch` hears of changes to the
        packet filter, where the kernel tells of them. `others` may have rules of an
        earlier configuration.
        """
        self._others = others
        self._socket = sock
        self._handout = handout
        self._programs = programs
        self._poll = poll
        self._watch = watch
        self._changed = False
        self._complaint = ""
        self._errors = events.Limiter(time.monotonic, OTHER_LINES_PER_SECOND)
        self._protection = Protection(
            settings,
            firewall,
            make,
            take_back=self._take_back_ports,
            proofs=Proofs(_begun),
            lines=self._errors,
        )
        self._bounds = Bounds(settings, swept=not firewall.expires_by_itself)
        self._ledger = Ledger()
        self._always_allow = settings.always_allow
        self._repaired = time.monotonic()
        self._sweep_again = 0.0

    @property
    def _firewall(self) -> Firewall:
        return self._protection.firewall

    def serve(self) -> None:
        """Work until the listener closes its end.

        Raises:
            MessageError: the listener broke the rules; it may have been taken over.
            FirewallError: the firewall could not even be prepared.
        """
        # The first word of the listener means that it captures and is nobody by now. A
        # listener that cannot start must not leave a drop that nobody can open.
        if not self._socket.recv(message.SIZE, socket.MSG_PEEK):
            return
        self._protection.start()
        self._remove_others()
        self._mend()
        for active in self._firewall.grants():
            self._adopt(active)
        ready = Answer(message.READY, 0, widths=self._firewall.widths)
        self._socket.send(message.encode_answer(ready))
        self._poll.register(self._socket, select.POLLIN)
        if self._watch is not None:
            self._poll.register(self._watch, select.POLLIN)
        try:
            while self._turn():
                continue
        finally:
            self._leave()

    def _remove_others(self) -> None:
        """Take away what another back end has left, now that ours is in place.

        Its drop would stay, and nobody could be let through it.
        """
        for other in self._others:
            try:
                other.remove()
            except FirewallError as error:
                events.error(f"{other.name}: old rules stay: {error}", error.hint)

    def _leave(self) -> None:
        """Take back what nobody will end: the kernel does not, and we go."""
        self._protection.leave()
        if self._firewall.expires_by_itself:
            return
        try:
            # What has ended and is still there is listed by nobody.
            self._firewall.sweep()
            self._take_back(self._firewall.grants())
        except FirewallError as error:
            events.error(f"live grants stay: {error}", error.hint)

    def _take_back(self, grants: Iterable[ActiveGrant]) -> None:
        """Revoke all of `grants`, even if one of them resists.

        Raises:
            FirewallError: one did, of several the first.
        """
        attempt_all(partial(self._take_one_back, one) for one in grants)

    def _take_back_ports(self, ports: tuple[Port, ...]) -> None:
        """Take back what opens `ports`.

        Raises:
            FirewallError: one of the grants is still there.
        """
        self._take_back(
            active for active in self._firewall.grants() if active.grant.port in ports
        )

    def _take_one_back(self, active: ActiveGrant) -> None:
        self._firewall.revoke(active.grant)
        self._bounds.forget(active.grant)
        self._programs.closed(active.grant)

    def _turn(self) -> bool:
        """Wait for something to do, and do it; return False when the listener left."""
        waits = (
            self._until_sweep(),
            self._until_repair(),
            self._programs.until_next(),
            self._protection.until_end(),
        )
        shortest = min((one for one in waits if one is not None), default=None)
        ready = {fd for fd, _ in self._poll.poll(shortest)}
        if self._watch is not None and self._watch.fileno() in ready:
            self._changed |= self._watch.drain()
        # A listener that asks comes before whatever runs for an earlier one.
        if self._socket.fileno() in ready:
            data = self._socket.recv(message.RUN_SIZE + 1)
            if not data:
                return False
            self._handle(message.decode_request(data))
        self._programs.turn(ready)
        return True

    def _adopt(self, active: ActiveGrant) -> None:
        """Take over a grant that an earlier run left in the kernel.

        Some packet filters go by the wall clock. If that was set back meanwhile, what
        was granted for seconds has hours left, and nobody knows for how many it was.
        """
        self._ledger.note(active.user, active.grant.address)
        now = time.monotonic()
        if not self._bounds.adopt(active.grant, active.seconds_left, now):
            self._take_one_back(active)

    def _until_repair(self) -> int | None:
        """Repair if somebody changed the packet filter; return ms until it is time."""
        if not self._changed:
            return None
        left = self._repaired + REPAIR_SECONDS - time.monotonic()
        if left > 0:
            return int(left * 1000) + 1
        return None if self._repair(quiet=True) else REPAIR_SECONDS * 1000

    def _until_sweep(self) -> int | None:
        """Sweep what has expired; return milliseconds until the next time, or None."""
        if self._firewall.expires_by_itself:
            return None
        now = time.monotonic()
        if now < self._sweep_again:
            return int((self._sweep_again - now) * 1000) + 1
        try:
            following = self._firewall.sweep()
            self._end_what_is_over(now)
        except FirewallError as error:
            self._errors.error(error, error.hint)
            # Not with each message: whoever asks would wait for it to fail again.
            self._sweep_again = time.monotonic() + _SWEEP_AGAIN_SECONDS
            return _SWEEP_AGAIN_SECONDS * 1000
        waits = [] if following is None else [following - wall_clock()]
        end = self._bounds.next_end()
        if end is not None:
            waits.append(end - now)
        if not waits:
            return None
        # The clock may be set meanwhile, so look again from time to time.
        return max(0, int(min(*waits, _SWEEP_SECONDS) * 1000)) + 1

    def _end_what_is_over(self, now: float) -> None:
        """Take back what a clock that was set back keeps open.

        What resists is not forgotten, so the next time tries again.

        Raises:
            FirewallError: some of it is still there.
        """
        over = self._bounds.ended(now)
        if not over:
            return
        live = self._firewall.grants()
        for grant in over.difference(one.grant for one in live):
            self._bounds.forget(grant)
        self._take_back(one for one in live if one.grant in over)

    def _handle(self, wanted: Wanted) -> None:
        if isinstance(wanted, GrantMessage):
            self._grant(wanted)
        elif isinstance(wanted, Revoke):
            self._revoke(wanted)
        elif isinstance(wanted, RunMessage):
            self._run(wanted)
        elif isinstance(wanted, message.Protect):
            self._protect(wanted)
        elif isinstance(wanted, message.Proof):
            proved = self._protection.is_proof(wanted.connection)
            self._answer(message.GRANTED if proved else message.REFUSED, wanted.number)
        elif isinstance(wanted, message.ListUsers):
            self._handout.send(self._socket, wanted.number)
        else:
            self._answer(message.PONG, wanted.number)
            # Not all packet filters tell of changes, and we are awake.
            self._repair()

    def _grant(self, wanted: GrantMessage) -> None:
        grant, seconds, user = wanted.grant, wanted.seconds, wanted.user
        if not self._bounds.allow(wanted, time.monotonic()):
            self._answer(message.REFUSED, wanted.number)
            return
        try:
            self._firewall.grant(grant, seconds, user)
        except FirewallError as error:
            self._errors.error(f"grant to {text(grant.address)}: {error}", error.hint)
            self._answer(message.FAILED, wanted.number)
        else:
            self._answer(message.GRANTED, wanted.number)
            self._ledger.note(user, grant.address)
            self._protection.note(grant.address, grant.port)
            self._programs.opened(grant, seconds, user)
        self._repair()

    def _protect(self, wanted: message.Protect) -> None:
        try:
            self._protection.apply()
        except (ConfigError, FirewallError) as error:
            self._errors.error(error, error.hint)
            self._answer(message.FAILED, wanted.number)
        else:
            self._answer(message.GRANTED, wanted.number)

    def _revoke(self, wanted: Revoke) -> None:
        """Take back what `wanted` says, first the grants, then the connections."""
        if wanted.user:
            self._programs.forget(wanted.user)
        known = self._ledger.places(wanted.user) if wanted.user else frozenset()
        sessions = 0
        try:
            concerned = [
                active
                for active in self._firewall.grants()
                if _concerns(wanted, active, known)
            ]
            self._take_back(concerned)
            if wanted.sessions:
                addresses = {active.grant.address for active in concerned} | known
                addresses |= {wanted.address} - {b""}
                sessions = self._end_sessions(addresses)
        except FirewallError as error:
            self._errors.error(f"revoke: {error}", error.hint)
            self._answer(message.FAILED, wanted.number)
            return
        answer = Answer(
            message.REVOKED,
            wanted.number,
            grants=len(concerned),
            sessions=sessions,
            forgotten=bool(wanted.user) and not self._ledger.is_complete(wanted.user),
        )
        self._socket.send(message.encode_answer(answer))

    def _end_sessions(self, addresses: AbstractSet[bytes]) -> int:
        """End the connections of `addresses`, but for those that are always allowed.

        A listener that was taken over must not be able to throw the owner out.
        """
        ends = frozenset(
            address
            for address in addresses
            if not any(_meets(address, one) for one in self._always_allow)
        )
        return self._firewall.end_sessions(ends)

    def _run(self, wanted: RunMessage) -> None:
        if not self._bounds.allow_command(wanted.user, time.monotonic()):
            self._answer(message.REFUSED, wanted.number)
            return
        allowed, started = self._programs.run(wanted)
        if not allowed:
            self._answer(message.REFUSED, wanted.number)
        else:
            self._answer(message.GRANTED if started else message.FAILED, wanted.number)

    def _repair(self, *, quiet: bool = False) -> bool:
        """See that our rules are whole, at most so often; return False if it failed.

        With `quiet`, a failure that was reported last is not reported again.
        """
        now = time.monotonic()
        if now - self._repaired < REPAIR_SECONDS:
            return True
        self._repaired = now
        return self._mend(quiet=quiet)

    def _mend(self, *, quiet: bool = False) -> bool:
        """Do that now: our drop is in place, and who leaves cannot mend what failed."""
        self._changed = False
        try:
            if self._firewall.repair():
                self._protection.mended()
                events.say("repaired", firewall=self._firewall.name)
        except FirewallError as error:
            # The port may be open: try again, and do not fill the log meanwhile.
            self._changed = True
            if not quiet or str(error) != self._complaint:
                events.error(error, error.hint)
            self._complaint = str(error)
            return False
        self._complaint = ""
        return True

    def _answer(self, kind: int, number: int) -> None:
        self._socket.send(message.encode_answer(Answer(kind, number)))


def _concerns(wanted: Revoke, active: ActiveGrant, known: frozenset[bytes]) -> bool:
    """Tell whether `wanted` is about this grant, given the addresses of its user."""
    if not wanted.user:
        return not wanted.address or active.grant.address == wanted.address
    # Somebody else at the same address may have had the same grant after this user, and
    # ipfw keeps no names. A grant too many is knocked for again; one too few stays.
    return active.user == wanted.user or place(active.grant.address) in known


def _meets(address: bytes, network: Network) -> bool:
    """Tell whether `address`, or all that it stands for, has a part in `network`."""
    is_whole = len(address) == 16 and address == place(address)
    meant = ip_network((address, 64)) if is_whole else ip_network(address)
    return meant.version == network.version and meant.overlaps(network)


def _begun(ports: Iterable[Port]) -> frozenset[Session]:
    """List the connections to `ports` that have begun.

    Raises:
        FirewallError, OSError: nobody can tell.
    """
    if os.path.exists(SOCKET_TABLES[0]):
        return begun_sessions(ports)
    return frozenset(established(ports))


def _watch() -> Watch | None:
    try:
        return Watch()
    except OSError as error:
        events.error(f"changes to the packet filter stay unnoticed: {error.strerror}")
        return None


def main(arguments: list[str]) -> int:
    """Run as `boot.py CONFIG FD` with a SOCK_SEQPACKET socket as descriptor FD."""
    path, fd = arguments[0], int(arguments[1])
    # Whoever stops the service stops the listener, and that ends us in good order. Not
    # SIG_IGN: what is ignored stays ignored in the programs that we start.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
        # libnftables reads from the kernel in C, and would take it for an error.
        signal.siginterrupt(number, False)
    # Who started us may have ignored it, and then no program's end would be told.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=fd) as sock:
        # A listener that does not read must not keep us from ending grants.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, pack("ll", 5, 0))
        try:
            return _work(sock, path)
        except BlockingIOError:
            events.error("granter: the listener does not listen")
        except (ConfigError, FirewallError) as error:
            events.error(error, error.hint)
        except (MessageError, SandboxError) as error:
            events.error(f"granter: {error}")
        except OSError as error:
            events.error(f"{error.filename or 'granter'}: {error.strerror or error}")
    return 1


def _work(sock: socket.socket, path: str) -> int:
    settings = config.load(path)
    events.open_log(settings.log)
    # All that takes more than the capabilities which are kept comes first.
    handout = Handout(settings)
    poll = select.poll()
    programs = Programs(settings, poll)
    keep_capabilities(frozenset({CAP_NET_ADMIN, CAP_NET_RAW}) | programs.capabilities)
    firewall, why = choose(settings.backend, settings.firewall, wall_clock)
    events.say("firewall", backend=firewall.name, because=why)
    for warning in firewall.warnings():
        events.say("warning", text=warning)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            Granter(
                sock,
                settings,
                firewall,
                handout=handout,
                programs=programs,
                poll=poll,
                make=lambda wanted: choose(firewall.name, wanted, wall_clock)[0],
                watch=_watch(),
                others=others(firewall, settings.firewall, wall_clock),
            ).serve()
        finally:
            programs.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
