"""Our NamedTuple does what typing's does, as far as it goes."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple as Typed

import pytest

from spassh.protocol import named_tuple

Ours: Any = named_tuple.NamedTuple


def shape(base: Any) -> Any:
    """Return one class that is made from `base`."""

    class Port(base):  # type: ignore[misc]
        """A port of a host."""

        host: str
        number: int = 22
        """Sixteen bits."""
        tags: tuple[str, ...] = ()

        def __str__(self) -> str:
            return f"{self.host}:{self.number}"

        @property
        def is_low(self) -> bool:
            return self.number < 1024

    return Port


TYPED, OURS = shape(Typed), shape(Ours)

DOES: dict[str, Callable[[Any], Any]] = {
    "by order": lambda port: port("a", 2, ("x",)),
    "by name": lambda port: port(number=2, host="a"),
    "by both": lambda port: port("a", tags=("y",)),
    "defaults": lambda port: port("a"),
    "fields": lambda port: (port("a", 7).host, port("a", 7).number, port("a").tags),
    "method": lambda port: str(port("a", 7)),
    "property": lambda port: (port("a").is_low, port("a", 2222).is_low),
    "repr": lambda port: repr(port("a")),
    "tuple": lambda port: (*port("a", 1), len(port("a")), port("a")[1]),
    "hash": lambda port: hash(port("a")),
    "equal": lambda port: (port("a") == port("a", 22), port("a") == port("b")),
    "order": lambda port: (port("a", 1) < port("a", 2), max(port("b"), port("a"))),
    "replace": lambda port: port("a")._replace(number=3, tags=("z",)),
    "dict": lambda port: port("a")._asdict(),
    "names": lambda port: (port._fields, port._field_defaults, port.__doc__),
    "bool": lambda port: bool(port("")),
}


@pytest.mark.parametrize("do", DOES.values(), ids=DOES)
def test_it_does_the_same(do: Callable[[Any], Any]) -> None:
    assert do(OURS) == do(TYPED)


REFUSES: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda port: port(),
    "too few": lambda port: port(number=1),
    "too many": lambda port: port("a", 1, (), 4),
    "one twice": lambda port: port("a", host="b"),
    "unknown": lambda port: port("a", colour="b"),
    "too many and a name": lambda port: port("a", 1, (), 4, number=2),
}


@pytest.mark.parametrize("do", REFUSES.values(), ids=REFUSES)
def test_it_refuses_the_same(do: Callable[[Any], Any]) -> None:
    for port in (OURS, TYPED):
        with pytest.raises(TypeError):
            do(port)


def test_what_is_unknown_replaces_nothing() -> None:
    with pytest.raises(TypeError):
        OURS("a")._replace(colour="b")


def test_no_field_can_be_set() -> None:
    for port in (OURS, TYPED):
        with pytest.raises(AttributeError):
            port("a").number = 3


def test_it_is_a_tuple() -> None:
    assert isinstance(OURS("a"), tuple)
    assert OURS("a", 1, ("b",)) == ("a", 1, ("b",))
