"""Shells that are asked what they would offer at the end of a line."""

import os
import pty
import subprocess
from pathlib import Path

MARK = "==="
"""Stands between the answers for two lines."""

_BASH = f"""
source "$COMPLETION"
unset COMP_WORDBREAKS
while IFS= read -r line; do
    COMP_LINE=$line COMP_POINT=${{#line}}
    "_$PROGRAM"
    printf '%s\\n' "${{COMPREPLY[@]}}" {MARK}
done
"""

_FISH = f"""
source $COMPLETION
while read line
    complete -C $line | string replace -r '\\t.*' ''
    echo {MARK}
end
"""

_ZSH = f"""
fpath=(${{COMPLETION:h}} $fpath)
autoload -Uz compinit && compinit -D -u
compadd() {{
    local -a hits
    if [[ -z ${{argv[(r)-[OAD]]}} ]]; then
        builtin compadd -A hits "$@"
        print -rl -- $IPREFIX$^hits >>$ANSWERS
    fi
    builtin compadd "$@"
}}
zle-line-init() {{
    local line
    for line in ${{(f)LINES_OF_TEST}}; do
        BUFFER=$line CURSOR=${{#line}}
        zle list-choices
        print -r -- '{MARK}' >>$ANSWERS
    done
    exit
}}
zle -N zle-line-init
"""


def offered(
    completion: Path, program: str, lines: list[str], environment: dict[str, str]
) -> list[set[str]]:
    """Return the words that the shell of `completion` offers for each of `lines`.

    Args:
        completion: the file, in a directory with the name of its shell.
        program: whose command lines these are.
        lines: each as far as it is typed.
        environment: HOME, which is where it is and may write, and what else there is.
    """
    home = Path(environment["HOME"])
    environment = {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm",
        "COMPLETION": str(completion),
        "PROGRAM": program,
        **environment,
    }
    text = "\n".join(lines) + "\n"
    name = completion.parent.name
    if name == "zsh":
        said = _ask_zsh(home, environment | {"LINES_OF_TEST": text})
    else:
        options = ["--norc", "-c", _BASH] if name == "bash" else ["-N", "-c", _FISH]
        said = subprocess.run(
            [name, *options],
            env=environment,
            cwd=home,
            input=text,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
    answers = said.split(f"{MARK}\n")[:-1]
    return [{word for word in answer.split("\n") if word} for answer in answers]


def _ask_zsh(home: Path, environment: dict[str, str]) -> str:
    """Return what an interactive zsh offers: it completes at a terminal alone."""
    (home / ".zshrc").write_text(_ZSH)
    answers = home / "answers"
    answers.touch()
    at_terminal(
        ["zsh", "-d", "-i"],
        environment | {"ZDOTDIR": str(home), "ANSWERS": str(answers)},
    )
    return answers.read_text()


def at_terminal(
    argv: list[str], environment: dict[str, str], keys: bytes = b""
) -> bytes:
    """Run a program in HOME at a terminal, type `keys`, and return what was shown."""
    ours, its = pty.openpty()
    try:
        with subprocess.Popen(
            ["timeout", "60", "setsid", "--ctty", "--wait", *argv],
            env=environment,
            cwd=environment["HOME"],
            stdin=its,
            stdout=its,
            stderr=its,
        ) as process:
            os.close(its)
            os.write(ours, keys)
            shown = b""
            try:
                while more := os.read(ours, 65536):
                    shown += more
            except OSError:
                pass  # Nobody has the terminal open any more.
            assert process.wait(timeout=60) == 0, shown
    finally:
        os.close(ours)
    return shown
