"""Generators of the vector files; their format is PROTOCOL.md section 11.

Keys and randomness are fixed, so the same code writes the same bytes again.
"""

from . import command, gate, handshake, payload, signed, success, window

_GENERATORS = (success, gate, handshake, payload, command, signed, window)


def everything() -> dict[str, str]:
    """Return the text of every vector file by its name, without `.vec`."""
    made = [vector for module in _GENERATORS for vector in module.vectors()]
    texts = {vector.name: vector.text() for vector in made}
    assert len(texts) == len(made), "two vectors of one name"
    return texts
