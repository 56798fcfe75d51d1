"""What can be read of a spasshd.toml in which something is wrong.

It is for the way back alone: which rules are ours, and whom to tell to end. The keys
are read line by line, so that a mistake in one line costs no other.
"""

import os
import re
from typing import Final

from .config import DEFAULT_PATH, Config, parse
from .files import read_private
from .toml import ConfigError

_NEEDED: Final = ("firewall_name", "run_dir", "mark", "ipfw_rule", "ipfw_path")
_LINE: Final = re.compile(rf"\s*(?:{'|'.join(_NEEDED)})\s*=")
_NAME: Final = re.compile(r"\s*firewall_name\s*=")
_STANDARD: Final = 'run_dir = "/run/spassh"'
"""What `spasshd init` writes into the file that has no other name."""


def salvage(path: str) -> Config:
    """Return the configuration in the file `path`, with defaults for what is broken.

    Raises:
        ConfigError: it does not say which rules are its own, and there is no default
            for that: the usual name belongs to the usual file.
    """
    path = os.path.abspath(path)
    lines = [_STANDARD] if path == DEFAULT_PATH else []
    try:
        text = read_private(path, secret=False)
    except ConfigError:
        text = ""  # It is gone, or others can write it: then it names what they like.
    for line in filter(_LINE.match, text.splitlines()):
        name = line.split("=")[0].strip()
        others = [one for one in lines if one.split("=")[0].strip() != name]
        if _is_right([*others, line], path):
            lines = [*others, line]
    if path != DEFAULT_PATH and not any(map(_NAME.match, lines)):
        hint = "'nft list tables' or 'iptables-save' show what there is"
        raise ConfigError(path, 0, "firewall_name", "cannot be read", hint)
    return parse("\n".join(lines), path)


def _is_right(lines: list[str], path: str) -> bool:
    try:
        parse("\n".join(lines), path)
    except ConfigError:
        return False
    return True
