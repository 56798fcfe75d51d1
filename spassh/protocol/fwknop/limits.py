"""How large a packet of fwknop may be."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LEAST: Final = 140
MOST: Final = 1500
"""Characters of a payload, as fwknopd takes them."""
