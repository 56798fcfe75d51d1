"""Write the completion of both programs for bash, zsh and fish into a directory."""

import os
import sys

from completion import bash, fish, zsh
from completion.description import describe

from spassh import usage
from spassh_server import cli
from spassh_server.config import DEFAULT_PATH

PLACES = {
    "bash/{}": bash.render,
    "fish/{}.fish": fish.render,
    "zsh/_{}": zsh.render,
}
"""Where the file of a program is, by shell, as each of them looks for it."""


def main(directory: str) -> None:
    for parser in (usage.parser(), cli._parser()):  # noqa: SLF001 - tests read it too
        program = describe(parser, (parser.prog,))
        for place, render in PLACES.items():
            path = os.path.join(directory, place.format(parser.prog))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(render(program, os.path.dirname(DEFAULT_PATH)))


if __name__ == "__main__":
    main(*sys.argv[1:])
