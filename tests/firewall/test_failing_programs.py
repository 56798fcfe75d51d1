"""Every program that a back end starts fails once.

It does nothing, or is killed when it has done its work; of the long steps, one program
in the one way and the next in the other. That one cannot be started at all is in
test_failing_calls.py. A step that says nothing has done its work all the same, the drop
is never less than it was, and when the failure is over the step can be repeated, and
everything taken away.
"""

import subprocess
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest
from firewall.backends import left, make, to
from firewall.network import CLIENT, STRANGER, Network, everything, sh

from spassh_server.firewall import Firewall, FirewallError, run

CLIENTS = tuple(to(one) for one in CLIENT.values())
SECONDS = 300


def does_nothing(_: list[str]) -> list[str]:
    """Have an exit status that iptables also has where something is not there."""
    return ["/bin/false"]


def killed_behind_its_work(argv: list[str]) -> list[str]:
    return ["/bin/sh", "-c", '"$@"; kill -9 $$', "sh", *argv]


Way = Callable[[list[str]], list[str]]
WAYS: Final = (does_nothing, killed_behind_its_work)


class Step(NamedTuple):
    """What is done while a program fails."""

    do: Callable[[Firewall], object]
    is_done: Callable[[Firewall, Network], bool]
    before: Callable[[Firewall], None]
    keeps: Callable[[Firewall, Network], bool] = lambda _firewall, _network: True
    """What holds also where it failed."""
    is_long: bool = True


def granted(firewall: Firewall) -> None:
    firewall.prepare()
    for one in CLIENTS:
        firewall.grant(one, SECONDS, "ada")


def damaged(firewall: Firewall) -> None:
    """Have somebody flush what leads to our rules."""
    firewall.prepare()
    if firewall.name == "nftables":
        sh("nft", "delete", "chain", "inet", "spassh-t", "input")
        return
    for version in (4, 6):
        program = firewall._tables[version].program  # type: ignore[attr-defined]
        sh(program, "-F", "INPUT")


def stands(firewall: Firewall, network: Network) -> bool:
    return firewall.in_place() and network.is_silent(*STRANGER.values())


def shut(_: Firewall, network: Network) -> bool:
    return network.is_silent(*STRANGER.values())


def shut_and_granted(firewall: Firewall, network: Network) -> bool:
    return shut(firewall, network) and network.is_open(*CLIENT.values())


def gone(firewall: Firewall, network: Network) -> bool:
    return not firewall.in_place() and network.is_open(*STRANGER.values())


def revoke(firewall: Firewall) -> None:
    for one in CLIENTS:
        firewall.revoke(one)


def extend(firewall: Firewall) -> None:
    for one in CLIENTS:
        firewall.grant(one, 2 * SECONDS, "ada")


def are_extended(firewall: Firewall, _: Network) -> bool:
    there = left(firewall)
    return {one for one in there if there[one] > SECONDS} == set(CLIENTS)


def no_longer_than_granted(firewall: Firewall, network: Network) -> bool:
    longest = max(left(firewall).values(), default=0)
    return shut(firewall, network) and longest <= 2 * SECONDS


STEPS: Final = {
    "set-up": Step(lambda one: one.prepare(), stands, lambda one: one.remove()),
    # Another daemon starts, where one was killed.
    "start": Step(lambda one: one.prepare(), stands, granted, shut_and_granted),
    "repair": Step(lambda one: one.repair(), stands, damaged),
    "extension": Step(
        extend, are_extended, granted, no_longer_than_granted, is_long=False
    ),
    "revocation": Step(
        revoke, lambda one, _: not one.grants(), granted, shut, is_long=False
    ),
    "removal": Step(lambda one: one.remove(), gone, granted),
}

KINDS: Final = (
    "iptables-nft with ipset",
    "iptables-legacy",
    "nftables by program",
)


class Programs:
    """Stands for the module that starts programs."""

    def __init__(self, failing: int, way: Way) -> None:
        """The program of that number, counted from 0, fails."""
        self._failing = failing
        self._way = way
        self.started = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, argv: list[str], **options: Any) -> Any:  # noqa: N802 - its name
        self.started += 1
        if self.started == self._failing + 1:
            argv = self._way(argv)
        return subprocess.Popen(argv, **options)

    @property
    def have_failed(self) -> bool:
        return self.started > self._failing


@pytest.fixture
def no_change(network: Network) -> Iterator[None]:
    """See that all is as it was, once everything is removed."""
    for kind in KINDS:
        # The programs make tables that stay.
        make(kind).prepare()
        make(kind).remove()
    before = everything()
    yield
    assert everything() == before


def attempt(kind: str, step: Step, number: int, way: Way) -> tuple[bool, bool]:
    """Do `step` while a program fails; tell whether it did, and whether it was told."""
    firewall = make(kind)
    programs = Programs(number, way)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "subprocess", programs)
        try:
            step.do(firewall)
        except FirewallError:
            return programs.have_failed, True
    return programs.have_failed, False


CASES: Final = [
    *((name, kind) for name in STEPS for kind in KINDS[:2]),
    # The rest of it is as with the library, which is in test_failing_calls.py.
    *((name, KINDS[2]) for name in ("repair", "removal")),
]


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.usefixtures("no_change")
def test_a_program_that_fails_is_told_and_leaves_the_drop_as_it_was(
    network: Network, name: str, kind: str
) -> None:
    step = STEPS[name]
    number, has_failed = 0, True
    while has_failed:
        first = (number + KINDS.index(kind)) % len(WAYS)
        for way in WAYS[first:][:1] if step.is_long else WAYS:
            where = f"program {number}, {way.__name__}"
            step.before(make(kind))
            has_failed, was_told = attempt(kind, step, number, way)
            assert step.keeps(make(kind), network), where
            if was_told:
                step.do(make(kind))
            assert step.is_done(make(kind), network), where
        number += 1
    assert number > 1
    make(kind).remove()
    assert network.is_open(*STRANGER.values())
