"""scripts/pictures: what the README shows, made from what really happens."""

import os
import subprocess
import sys
import tempfile

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(_HERE, "../tests"))

from lab.network import LabError
from lab.shells import at_terminal
from picture import terminal, way
from picture.login import record_login
from picture.screen import read_screen

_COMMAND = "sudo scripts/demo"


def main(directory: str) -> int:
    os.makedirs(directory, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="spassh-pictures-") as scratch:
        try:
            login = record_login(os.path.dirname(sys.executable), scratch)
        except (LabError, subprocess.CalledProcessError) as error:
            print(f"pictures: error: {error}", file=sys.stderr)
            return 1
        argv = [sys.executable, os.path.join(_HERE, "demo.py")]
        environment = os.environ | {"HOME": scratch, "TERM": "xterm"}
        shown = at_terminal(argv, environment).decode()
    title = "The way of a packet through spassh, with the times of a real login"
    write(directory, "way.svg", way.render(title, login))
    lines = read_screen(f"\033[2m$\033[0m \033[1m{_COMMAND}\033[0m\n{shown}")
    write(directory, "demo.svg", terminal.render(f"What {_COMMAND} prints", lines))
    return 0


def write(directory: str, name: str, text: str) -> None:
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"pictures: {path}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
