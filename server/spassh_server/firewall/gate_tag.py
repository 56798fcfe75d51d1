"""The comment of the one rule that we put into a chain of others: NAME:MARK.

It says whose the rule is and which mark it trusts.
"""

from . import Settings


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
