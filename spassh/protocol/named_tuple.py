"""NamedTuple as typing has it, without the 10 ms that typing takes to load.

Type checkers are shown the one of typing. At run time there is this one, which does
what we use of it and no more (ADR 0025).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from _operator import itemgetter

    class NamedTuple(tuple):
        """A tuple with a name for each item, in the order of the annotations."""

        __slots__ = ()

        def __init_subclass__(cls):
            cls._fields = tuple(cls.__annotations__)
            cls._field_defaults = {
                name: vars(cls)[name] for name in cls._fields if name in vars(cls)
            }
            for at, name in enumerate(cls._fields):
                setattr(cls, name, property(itemgetter(at)))

        def __new__(cls, *values, **named):
            """Take the items in order, by name, or from the defaults."""
            if len(values) == len(cls._fields) and not named:
                # As most are made, and a server makes several for each packet.
                return tuple.__new__(cls, values)
            given = dict(zip(cls._fields, values, strict=False))
            items = cls._field_defaults | given | named
            if len(values) + len(named) > len(given | named) or (
                items.keys() != set(cls._fields)
            ):
                raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}")
            return tuple.__new__(cls, [items[name] for name in cls._fields])

        def __repr__(self):
            items = (f"{name}={item!r}" for name, item in self._asdict().items())
            return f"{type(self).__name__}({', '.join(items)})"

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **named):
            return type(self)(**self._asdict() | named)


__all__ = ["NamedTuple"]
