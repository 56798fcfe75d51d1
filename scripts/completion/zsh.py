"""The completion for zsh: a function for each verb, for `_arguments` to work on."""

from .description import Argument, Option, Value, Verb
from .hosts import PROLOGUE, fill


def render(program: Verb, users: str) -> str:
    """Return the text of the file. `users` is the directory of the configuration."""
    kinds = program.kinds()
    name = program.words[0]
    text = "".join(finder for kind, finder in _FINDERS.items() if kind in kinds)
    text += "".join(map(_function, program.everything())) + f'\n_{name} "$@"\n'
    begin = f"#compdef {name}\n" + PROLOGUE.format(name, "zsh")
    return begin + fill(text, program, users)


def _function(verb: Verb) -> str:
    specs = [spec for option in verb.options for spec in _option(option)]
    specs += [_argument(number, one) for number, one in enumerate(verb.arguments, 1)]
    name = "_" + "_".join(verb.words)
    if not verb.verbs:
        lines = [f"\n{name}() {{", "    local -A opt_args", "    _arguments -S \\"]
        lines += [f"        {spec} \\" for spec in specs[:-1]]
        return "\n".join([*lines, f"        {specs[-1]}", "}\n"])
    lines = [f"\n{name}() {{", "    local curcontext=$curcontext state line"]
    lines += ["    local -A opt_args", "    local -a verbs=("]
    lines += [f"        {_quoted(f'{one.words[-1]}:{one.help}')}" for one in verb.verbs]
    lines += ["    )", "    _arguments -C \\"]
    lines += [f"        {spec} \\" for spec in specs]
    lines += ["        '1:verb:->verb' \\", "        '*:: :->rest' && return"]
    lines += ["    case $state in", "    verb) _describe -t verbs verb verbs ;;"]
    lines += ["    rest)", "        case $words[1] in"]
    lines += [
        f"        {one.words[-1]}) _{'_'.join(one.words)} ;;" for one in verb.verbs
    ]
    return "\n".join([*lines, "        esac", "        ;;", "    esac", "}\n"])


def _option(option: Option) -> list[str]:
    """Return a specification for each spelling of an option."""
    is_help = "--help" in option.names or "--version" in option.names
    excludes = [*option.excludes]
    if is_help:
        excludes = ["-", "*"]
    elif not option.repeats:
        excludes = [*option.names, *excludes]
    before = f"({' '.join(excludes)})" if excludes else ""
    text = option.help.replace("[", r"\[").replace("]", r"\]")
    found = []
    for name in option.names:
        takes = value = ""
        if option.value:
            takes = "=" if name.startswith("--") else "+"
            value = f":{_message(option.value)}:{_action(option.value)}"
        spec = f"{'*' * option.repeats}{name}{takes}[{text}]{value}"
        found.append(_quoted(before + spec))
    return found


def _argument(number: int, argument: Argument) -> str:
    value = argument.value
    place = "*" if argument.repeats else str(number)
    return _quoted(f"{place}:{_message(value)}:{_action(value)}")


def _message(value: Value) -> str:
    return value.metavar.replace(":", r"\:")


def _action(value: Value) -> str:
    if value.words:
        return f"({' '.join(value.words)})"
    if value.kind == "file":
        return "_files"
    return f"_@PROGRAM@_{value.kind}s" if value.kind else " "


def _quoted(text: str) -> str:
    return "'" + text.replace("'", r"'\''") + "'"


_HOSTS = r"""
# Offer the hosts of all profiles.
_@PROGRAM@_hosts() {
    local directory=${XDG_CONFIG_HOME:-}
    if [[ $directory != /* ]]; then
        directory=~/Library/Application\ Support # of macOS
        [[ -d $directory/spassh ]] || directory=~/.config
    fi
    directory=${SPASSH_CONFIG_HOME:-$directory/spassh}
    local -a files=($directory/profiles/*.toml(N-.r[1,@FILES@])) hosts
    [[ $1 == target && -f ~/.ssh/config && -r ~/.ssh/config ]] && files+=(~/.ssh/config)
    ((${#files})) || return 1
    hosts=(${(f)"$(LC_ALL=C awk -- '@AWK@' $files 2>/dev/null)"})
    compadd -J hosts -X host -a hosts
}

# Offer those that ssh knows as well, after a login if there is one.
_@PROGRAM@_targets() {
    compset -P '*@'
    _@PROGRAM@_hosts target
}
"""

_USERS = r"""
# Offer the users that have a file.
_@PROGRAM@_users() {
    local config=${(Q)opt_args[--config]:-@USERS@/spasshd.toml}
    local -a names=($config:h/users.d/*.toml(N:t:r[1,@FILES@]))
    names=(${(M)names:#[A-Za-z0-9_][A-Za-z0-9._-]#})
    compadd -J users -X user -a names
}
"""

_FINDERS = {"host": _HOSTS, "user": _USERS}
"""What finds words of a kind."""
