"""Users' files, changed as an administrator does."""

import os

from .programs import Spasshd


def user_file(server: Spasshd, name: str) -> str:
    """Return the path of the user's file."""
    return os.path.join(server.directory, "users.d", f"{name}.toml")


def set_lines(server: Spasshd, name: str, *lines: str) -> None:
    """Put `lines` before everything else in the user's file; they are keys."""
    path = user_file(server, name)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, text]))
