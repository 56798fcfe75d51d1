"""The comment of the one rule that we put into a chain of others: NAME:MARK.

It says whose the rule is and which mark it trusts. Rules of other instances may come
before ours, or two of them would take turns at the top for ever.
"""

import re
from typing import Final

from . import Settings

_NAME: Final = re.compile("[a-z0-9-]{1,20}")
"""What `Settings.name` may be."""


def render_tag(name: str, mark: int) -> str:
    """Return the comment of the rule that trusts `mark`."""
    return f"{name}:{mark:#x}"


def wanted_tag(settings: Settings) -> str:
    """Return the comment of the rule that `settings` ask for."""
    return render_tag(settings.name, settings.mark)


def parse_tag(comment: str, name: str) -> int:
    """Return the mark that the rule with this `comment` trusts, or 0 if not ours."""
    try:
        mark = int(comment.partition(":")[2], 16)
    except ValueError:
        return 0
    return mark if mark > 0 and comment == render_tag(name, mark) else 0


def parse_any_tag(comment: str) -> tuple[str, int]:
    """Return the name and the mark in the `comment` of any instance's rule, or 0."""
    name = comment.partition(":")[0]
    return name, parse_tag(comment, name) if _NAME.fullmatch(name) else 0
