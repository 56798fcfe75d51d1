"""A program `ssh` that answers as a server would, and writes down what it was told."""

import json
import os
import sys
from ast import literal_eval
from pathlib import Path
from typing import Any

import pytest

_PROGRAM = """\
#!{python} -IS
import os, sys, time

here = os.path.dirname(os.path.abspath(__file__))
# As Python spells it, whose json takes longer to import than the rest takes.
with open(os.path.join(here, "scene")) as file:
    scene = eval(file.read())
argv = sys.argv[1:]
control = next((x.partition("=")[2] for x in argv if x.startswith("ControlPath=")), "")
remote = argv[argv.index("--") + 2 :]
told = {{"argv": argv, "stdin": sys.stdin.read() if remote else ""}}
told["over_session"] = os.path.exists(control)
with open(os.path.join(here, "told"), "a") as file:
    file.write(ascii(told) + "\\n")

if "-G" in argv:
    sys.stderr.write(scene["story"])
    for key, value in scene["settings"].items():
        print(key, value)
    if os.path.exists(scene["config"]) and "Include" in open(scene["config"]).read():
        print("proxycommand spassh proxy --fdpass -- %h %p")
    sys.exit(scene["settings_status"])
if "-N" in argv:
    if scene["login_hangs"]:
        time.sleep(600)
    sys.stderr.write(scene["login_errors"])
    if not scene["login_status"]:
        open(control, "w").close()
    sys.exit(scene["login_status"])
if "check" in argv:
    sys.exit(scene["shared_status"])
if "-O" in argv:
    os.unlink(control)
    sys.exit(0)
answer = scene["answers"].pop(0)
with open(os.path.join(here, "scene"), "w") as file:
    file.write(ascii(scene))
sys.stdout.write(answer["output"])
sys.stderr.write(answer["errors"])
sys.stdout.flush()
if answer["hangs"]:
    time.sleep(600)
sys.exit(answer["status"])
"""


class FakeSsh:
    """The program, which is the first of its name in PATH."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        directory.mkdir()
        self.directory = directory
        self.config = directory / "dot-ssh" / "config"
        self.scene: dict[str, Any] = {
            "settings": {"hostname": "127.0.0.1", "user": "root", "port": "22"},
            "settings_status": 0,
            "login_status": 0,
            "login_errors": "",
            "login_hangs": False,
            "shared_status": 255,
            "story": "",
            "config": str(self.config),
            "answers": [],
        }
        program = directory / "ssh"
        program.write_text(_PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
        self._write()

    def set(self, **values: object) -> None:
        self.scene |= values
        self._write()

    def settings(self, **values: str) -> None:
        self.set(settings=self.scene["settings"] | values)

    def answer(
        self,
        output: str = "",
        errors: str = "",
        status: int = 0,
        *,
        hangs: bool = False,
    ) -> None:
        """Answer one more command, after those before it."""
        answer = {"output": output, "errors": errors, "status": status, "hangs": hangs}
        self.scene["answers"].append(answer)
        self._write()

    def status(self, *grants: dict[str, Any], **counters: int) -> None:
        """Answer one more command as `spasshd status --json`."""
        state = {"running": True, "counters": counters, "grants": list(grants)}
        self.answer(json.dumps(state) + "\n")

    def _write(self) -> None:
        (self.directory / "scene").write_text(ascii(self.scene))

    @property
    def told(self) -> list[dict[str, Any]]:
        """All calls of the program."""
        try:
            lines = (self.directory / "told").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [literal_eval(line) for line in lines]

    @property
    def commands(self) -> list[str]:
        """What was to be run on the server."""
        argvs = [one["argv"] for one in self.told]
        return [argv[-1] for argv in argvs if len(argv) > argv.index("--") + 2]

    @property
    def passwords(self) -> list[str]:
        return [one["stdin"] for one in self.told if one["stdin"]]

    def is_over(self) -> bool:
        """Tell whether the last thing was to end the session."""
        return "exit" in self.told[-1]["argv"]
