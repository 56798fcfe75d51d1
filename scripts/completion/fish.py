"""The completion for fish: a line for each thing that can stand somewhere."""

from .description import Option, Value, Verb
from .hosts import PROLOGUE, fill


def render(program: Verb, users: str) -> str:
    """Return the text of the file. `users` is the directory of the configuration."""
    kinds = program.kinds()
    everything = list(program.everything())
    text = _AT + "".join(text for kind, text in _FINDERS.items() if kind in kinds)
    text += "\ncomplete -c @PROGRAM@ -f\n"
    text += "".join(f"{line}\n" for verb in everything for line in _lines(verb))
    begin = PROLOGUE.format(program.words[0], "fish")
    return begin + fill(
        text,
        program,
        users,
        VALUED="".join(map(_valued, everything)),
        GROUPS="".join(
            f" '{' '.join(verb.words[1:])}'" for verb in everything if verb.verbs
        ),
    )


def _valued(verb: Verb) -> str:
    names = [name for one in verb.options if one.value for name in one.names]
    if not names:
        return ""
    words = " ".join(verb.words[1:])
    return f"        case '{words}'\n            set valued {' '.join(names)}\n"


def _lines(verb: Verb) -> list[str]:
    words = " ".join(verb.words[1:])
    begin = f"complete -c {verb.words[0]}"
    at = f"{begin} -n \"__@PROGRAM@_at '{words}'"
    lines = [f'{at} 0" -a {one.words[-1]} -d {_quoted(one.help)}' for one in verb.verbs]
    lines += [f'{at}" {_option(one)}' for one in verb.options]
    for number, argument in enumerate(verb.arguments):
        offer = _offer(argument.value)
        if offer:
            least = " or-more" if argument.repeats else ""
            lines.append(f'{at} {number}{least}" {offer}')
    return lines


def _option(option: Option) -> str:
    words = [
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
        for name in option.names
    ]
    if option.value and option.value.kind == "file":
        words += ["-r", "-F"]
    elif option.value:
        words += filter(None, ["-x", _offer(option.value)])
    return " ".join([*words, "-d", _quoted(option.help)])


def _offer(value: Value) -> str:
    if value.words:
        return f"-a '{' '.join(value.words)}'"
    if value.kind == "file":
        return "-F"
    return f"-a '(__@PROGRAM@_{value.kind}s)'" if value.kind else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", r"\\").replace("'", r"\'") + "'"


_AT = r"""
# Whether the verb is $argv[1], and has $argv[2] arguments already, if that is given.
function __@PROGRAM@_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l verb ''
    while set -q words[1]; and contains -- "$verb"@GROUPS@
        string match -q -- '-*' $words[1]
        or set verb (string trim -- "$verb $words[1]")
        set -e words[1]
    end
    test "$verb" = "$argv[1]"; or return 1
    set -q argv[2]; or return 0
    set -l valued
    switch $verb
@VALUED@    end
    set -l count 0
    set -l pending
    set -l only_arguments
    for word in $words
        if set -q pending[1]
            set -e pending
        else if set -q only_arguments[1]
            set count (math $count + 1)
        else if test "$word" = --
            set only_arguments 1
        else if string match -q -- '-?*' $word
            contains -- $word $valued; and set pending 1
        else
            set count (math $count + 1)
        end
    end
    set -q argv[3]; and test $count -ge $argv[2]; and return 0
    test $count -eq $argv[2]
end
"""

_HOSTS = r"""
# Print the hosts of all profiles, and those of ssh_config(5) for what ssh may know.
function __@PROGRAM@_hosts
    set -l directory ~/Library/Application\ Support/spassh # of macOS
    test -d $directory; or set directory ~/.config/spassh
    string match -q -- '/*' "$XDG_CONFIG_HOME"
    and set directory $XDG_CONFIG_HOME/spassh
    test -n "$SPASSH_CONFIG_HOME"; and set directory $SPASSH_CONFIG_HOME
    set -l files
    for file in $directory/profiles/*.toml
        test -f $file -a -r $file; and set -a files $file
        test (count $files) -lt @FILES@; or break
    end
    test "$argv[1]" = target -a -f ~/.ssh/config -a -r ~/.ssh/config
    and set -a files ~/.ssh/config
    set -q files[1]; and LC_ALL=C awk -- '@AWK@' $files 2>/dev/null
end

# Print those that ssh knows as well, after a login if there is one.
function __@PROGRAM@_targets
    set -l login (string match -r -- '^.*@' (commandline -ct))
    for host in (__@PROGRAM@_hosts target)
        echo "$login$host"
    end
end
"""

_USERS = r"""
# Print the users that have a file.
function __@PROGRAM@_users
    set -l config @USERS@/spasshd.toml
    set -l words (commandline -opc)
    set -l at (contains -i -- --config $words)
    and test $at -lt (count $words); and set config $words[(math $at + 1)]
    set -l given (string replace -f -r -- '^--config=' '' $words)
    and set config $given[1]
    set -l count 0
    for file in (string replace -r -- '[^/]*$' '' $config)users.d/*.toml
        set -l name (string replace -r -- '^.*/(.*)\.toml$' '$1' $file)
        string match -r -- '^[A-Za-z0-9_][A-Za-z0-9._-]*$' $name
        set count (math $count + 1)
        test $count -lt @FILES@; or break
    end
end
"""

_FINDERS = {"host": _HOSTS, "user": _USERS}
"""What finds words of a kind."""
