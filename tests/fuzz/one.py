"""Fuzz one target: `python -m fuzz.one MODULE`, and then the words of libFuzzer.

It is a program of its own, because libFuzzer ends the process that it runs in.
"""

import importlib
import sys

import atheris


def main() -> None:
    name, *words = sys.argv[1:]
    with atheris.instrument_imports(include=["spassh", "spassh_server"]):
        target = importlib.import_module(name)
    atheris.Setup([name, *words], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
