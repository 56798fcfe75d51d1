"""How a shell finds hosts and users without starting either program."""

from .description import Verb

MAX_FILES = 200
"""Profiles or users that are looked at."""

MAX_LINES = 10_000
"""Lines of all files that are read for hosts."""

AWK = rf"""
    NR > {MAX_LINES} {{ exit }}
    tolower($1) == "host" {{
        for (i = 2; i <= NF; i++) offer($i)
    }}
    /^[ \t]*hosts[ \t]*=/ {{ inside = 1 }}
    inside {{
        rest = $0
        while (match(rest, /"[^"]*"/)) {{
            name = substr(rest, RSTART + 1, RLENGTH - 2)
            rest = substr(rest, RSTART + RLENGTH)
            sub(/^.*@/, "", name)
            offer(name)
        }}
        if (rest ~ /\]/) inside = 0
    }}
    function offer(name) {{
        if (name ~ /^[A-Za-z0-9_:][A-Za-z0-9._:%-]*$/) print name
    }}
"""
"""Prints the hosts of profiles and of ssh_config(5), a line for each.

A pattern is no host, and neither is what a shell could take for more than a name.
"""

PROLOGUE = """\
# Completion of {} for {}. Made by scripts/completions from what reads the
# command line: do not edit.
"""


def fill(template: str, program: Verb, users: str, **parts: str) -> str:
    """Return `template` with what stands between two `@` replaced.

    Args:
        template: text with `@NAME@` in it.
        program: what is completed.
        users: the directory of the configuration, unless another is given.
        parts: by name what else there is.
    """
    values = {
        **parts,
        "AWK": AWK,
        "FILES": str(MAX_FILES),
        "USERS": users,
        "PROGRAM": program.words[0],
    }
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template
