"""`spassh doctor`: why a login does not work, or is slow, and what mends it.

Each thing is looked at in the order in which a login needs it. Nothing is changed but
what a login changes: a knock may open the port to us for some seconds.
"""

import json
import os
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from ...connect import Target as Place
from ...errors import ProfileError, ResolveError, SpasshError
from ...fwknop import FwknopKnocker
from ...fwknop_profile import Fwknop
from ...knock import Knocker
from ...patterns import Wanted
from ...private import config_home
from ...profile import Keys, Profile, find, load_keys, own_key_path
from ...protocol.finding import Finding, Result, encode_findings, render, worst
from ...proxy import Clocks
from ...resolve import Address, Resolving
from ...schedule import KNOCKS, Plan
from ...ui import Tell
from ..proof import Prover
from ..remote import Spasshd
from ..saying import say
from ..ssh import Settings, Ssh, Target
from .files import places
from .here import ask_ssh
from .judge_here import (
    Reached,
    Way,
    judge_files,
    judge_name,
    judge_no_profile,
    judge_profile,
    judge_ssh,
    judge_ways,
)
from .judge_there import (
    Knocked,
    Login,
    judge_access,
    judge_clock,
    judge_families,
    judge_login,
    judge_port,
    judge_server,
    judge_udp,
)
from .port import Opening, State, dial_unasked, hear, knock_and_connect
from .there import There, look_there
from .ways import Complaint, Noise, find_source

LIMIT: Final = 105.0
"""Seconds for all of it. ssh is ended when they are over."""

PATIENCE: Final = 10
"""Most seconds that a port is tried for, whatever the profile says."""

MOST_ADDRESSES: Final = 16
"""How many addresses of the host are looked at."""

_SSH_PORT: Final = 22


class _Key(NamedTuple):
    """A profile and its keys: what a knock takes."""

    profile: Profile
    keys: Keys | Fwknop
    """The second if the server is an fwknopd."""


def run(target: Target, clocks: Clocks, tell: Tell, *, as_json: bool) -> bool:
    """Look at everything, and print what is found; tell whether there is no problem.

    Args:
        target: the server, as it is given to ssh.
        clocks: the time.
        tell: takes the story.
        as_json: whether to print one object for programs.
    """
    visit = Visit(target, clocks, tell)
    findings = []
    for finding in visit.findings():
        findings.append(finding)
        if not as_json:
            _print(finding)
    there = visit.server
    result = worst([*findings, *(there or [])])
    if as_json:
        answer: dict[str, Any] = {
            "host": target.host,
            "result": str(result),
            "findings": encode_findings(findings),
            "server": None if there is None else encode_findings(there),
        }
        print(json.dumps(answer))
    else:
        for finding in there or []:
            _print(finding, "server")
    return result is not Result.PROBLEM


def _print(finding: Finding, whose: str = "") -> None:
    for line in render(finding, whose):
        say(line)


class Visit:
    """One look at everything, from ssh's configuration to the server."""

    def __init__(self, target: Target, clocks: Clocks, tell: Tell) -> None:
        self._target = target
        self._clocks = clocks
        self._tell = tell
        self._home = config_home()
        self._deadline = clocks.monotonic() + LIMIT
        self._ssh: Ssh | None = None
        self._reached: Reached | None = None
        self._has_profile = False
        self._addresses: list[Address] = []
        self._openings: list[Opening] = []
        self.server: list[Finding] | None = None
        """What `spasshd doctor` has found on the server, if it could be asked."""

    @property
    def _settings(self) -> Settings:
        """What ssh makes of the target; the target itself if it does not say."""
        host, login, port = self._target
        unasked = Settings(host, login, port or _SSH_PORT, "")
        return self._reached.settings if self._reached else unasked

    @property
    def _has_own_way(self) -> bool:
        """Whether ssh has a way to the host that is not by spassh."""
        return bool(self._settings.proxy) and not self._settings.goes_through_spassh

    def findings(self) -> Iterator[Finding]:
        """Yield what is found, one after the other."""
        trouble = self._ask_ssh()
        profile, about_profile = self._find_profile()
        if self._reached:
            yield judge_ssh(
                self._target.host, self._reached, has_profile=self._has_profile
            )
        yield from trouble
        yield about_profile
        key = None
        if profile is not None:
            yield from self._look_at_files(profile)
            try:
                key = self._load(profile)
            except ProfileError as error:
                yield Finding("keys", Result.PROBLEM, str(error), error.hint)
        host = (profile.name if profile else "") or self._settings.host
        yield self._resolve(host)
        complaints: list[Complaint] = []
        if key:
            complaints = yield from self._knock(key, host)
        else:
            ways = [Way(one, *find_source(one)) for one in self._addresses]
            yield from judge_ways(ways)
        yield from self._ask_server(key, complaints)

    def _ask_ssh(self) -> list[Finding]:
        """Ask ssh how it reaches the host; return what is wrong, if it does not say."""
        clock = self._clocks.monotonic
        try:
            self._ssh = Ssh(
                self._target, clock, self._tell, asks=False, deadline=self._deadline
            )
            self._reached = ask_ssh(self._ssh)
        except SpasshError as error:
            remedy = error.hint or "see that 'ssh -G' works"
            return [Finding("ssh_config", Result.PROBLEM, str(error), remedy)]
        return []

    def _find_profile(self) -> tuple[Profile | None, Finding]:
        host, login, _, proxy = self._settings
        # What the ProxyCommand does not say, spassh does not know at a login.
        name = self._target.host if "%n" in proxy else ""
        wanted = Wanted(host, name, login if "%r" in proxy else "")
        try:
            profile = find(self._home, wanted)
            self._has_profile = profile is not None
            if profile is not None:
                return profile, judge_profile(profile)
            hidden = find(self._home, Wanted(host, self._target.host, login))
        except ProfileError as error:
            self._has_profile = True
            return None, Finding("profile", Result.PROBLEM, str(error), error.hint)
        path = hidden.path if hidden else ""
        return None, judge_no_profile(self._target.said, host, path)

    def _look_at_files(self, profile: Profile) -> list[Finding]:
        own = [own_key_path(self._home)] if profile.has_own_key else []
        paths = [profile.path, *own]
        return judge_files(paths, places(paths), os.geteuid())

    def _load(self, profile: Profile) -> _Key:
        key = _Key(profile, profile.fwknop or load_keys(profile, self._home))
        # It sees whether the server's key is one that anybody can have.
        self._knocker(key, narrow=False)
        return key

    def _resolve(self, host: str) -> Finding:
        began = self._clocks.monotonic()
        try:
            found = Resolving(host, self._settings.port).wait()
        except ResolveError as error:
            return Finding("name", Result.PROBLEM, str(error), error.hint)
        self._addresses = found[:MOST_ADDRESSES]
        return judge_name(host, found, self._clocks.monotonic() - began)

    def _knocker(self, key: _Key, *, narrow: bool) -> Knocker | FwknopKnocker:
        profile, keys = key
        port, utc_ms = self._settings.port, self._clocks.utc_ms
        if isinstance(keys, Fwknop):
            return FwknopKnocker(profile, keys, port, utc_ms, os.urandom)
        return Knocker(profile, keys, port, utc_ms, os.urandom, narrow=narrow)

    def _knock(self, key: _Key, host: str) -> Generator[Finding, None, list[Complaint]]:
        """Knock and connect; return what anybody has said about our datagrams."""
        noises = [Noise(one, key.profile.port) for one in self._addresses]
        try:
            ways = [
                Way(one, noise.source, noise.reason)
                for one, noise in zip(self._addresses, noises, strict=True)
            ]
            yield from judge_ways(ways)
            self._openings = self._open(key, host, ways)
            yield from judge_port(
                self._settings.port,
                self._openings,
                host,
                self._target.said,
                has_other_way=self._has_own_way,
            )
            if ways:
                yield judge_families(ways, self._openings, key.profile.path)
            return [one for noise in noises for one in noise.complaints()]
        finally:
            for noise in noises:
                noise.close()

    def _open(self, key: _Key, host: str, ways: Sequence[Way]) -> list[Opening]:
        """Try the first address of each family that there is a way to."""
        clock = self._clocks.monotonic
        firsts: dict[int, Address] = {}
        for way in ways:
            if way.source:
                firsts.setdefault(way.address.family, way.address)
        addresses = list(firsts.values())
        openings = []
        for address, sock in zip(
            addresses, dial_unasked(addresses, clock), strict=True
        ):
            if sock is not None:
                greeting = hear(sock, clock)
                openings.append(Opening(address, State.OPEN, greeting=greeting))
                continue
            plan = self._plan(key.profile)
            knocker = self._knocker(key, narrow=plan.is_narrow(0))
            place = Place(host, self._settings.port, [address])
            opening = knock_and_connect(place, knocker.knock, clock, plan, self._tell)
            openings.append(opening)
        return openings

    def _plan(self, profile: Profile) -> Plan:
        knocks = tuple(milliseconds / 1000 for milliseconds in profile.schedule)
        timeout = min(profile.timeout, PATIENCE)
        return Plan(timeout, profile.width, knocks or KNOCKS)

    def _ask_server(
        self, key: _Key | None, complaints: Sequence[Complaint]
    ) -> Iterator[Finding]:
        """Log in if that is possible, and yield what can be said with and without."""
        name = self._target.host
        there, tried = self._look_there(key)
        if key:
            knocked = Knocked(
                key.profile.port,
                self._openings,
                complaints,
                there.seen,
                key.profile.fwknop is not None,
            )
            yield judge_udp(knocked, name)
            if there.seen:
                yield from judge_access(there.seen, name, self._target.said)
        yield judge_login(name, tried)
        yield judge_clock(there.offset, name)
        yield judge_server(there.findings, there.why, name, is_missing=there.is_missing)
        self.server = there.findings

    def _look_there(self, key: _Key | None) -> tuple[There, Login]:
        """Learn on the server what there is to be learnt, if ssh gets in."""
        tried = Login(self._settings.login)
        if self._ssh is None or self._reached is None:
            return There(), tried._replace(why="ssh cannot be asked")
        began = self._clocks.monotonic()
        try:
            if self._ssh.is_shared():
                return self._learn(self._ssh, key), tried._replace(is_shared=True)
            if key and not self._gets_in():
                return There(), tried
            with self._ssh.session():
                seconds = self._clocks.monotonic() - began
                there = self._learn(self._ssh, key)
                return there, tried._replace(seconds=seconds)
        except SpasshError as error:
            return There(), tried._replace(why=str(error))

    def _gets_in(self) -> bool:
        """Tell whether ssh has a way in, as far as that is known."""
        is_open = any(one.state in {State.OPEN, State.OPENS} for one in self._openings)
        return self._has_own_way or is_open

    def _learn(self, ssh: Ssh, key: _Key | None) -> There:
        login = self._settings.login
        spasshd = Spasshd(ssh, self._target.host, login, _ask_nothing)
        utc_ms = self._clocks.utc_ms
        settings = self._settings
        prover = Prover(spasshd, settings, self._home, utc_ms, self._addresses)
        # What an fwknopd has seen of a knock, nobody can be asked.
        profile = key.profile if key and isinstance(key.keys, Keys) else None
        return look_there(ssh, spasshd, prover, profile, utc_ms)


def _ask_nothing(_: str) -> NoReturn:
    raise SpasshError("sudo there wants a password, and nobody is asked for one")
