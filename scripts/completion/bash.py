"""The completion for bash: what can follow in tables, and a function to read them."""

from .description import Option, Value, Verb
from .hosts import PROLOGUE, fill


def render(program: Verb, users: str) -> str:
    """Return the text of the file. `users` is the directory of the configuration."""
    kinds = program.kinds()
    finders = branches = ""
    for kind, (finder, branch) in _FINDERS.items():
        if kind in kinds:
            finders += finder
            branches += branch
    text = fill(
        _TEMPLATE,
        program,
        users,
        CASES="".join(map(_case, program.everything())),
        FINDERS=fill(finders, program, users),
        BRANCHES=fill(branches, program, users),
    )
    return PROLOGUE.format(program.words[0], "bash") + text


def _case(verb: Verb) -> str:
    lines = [f"    '{' '.join(verb.words[1:])}')"]
    for variable, words in (
        ("verbs", [one.words[-1] for one in verb.verbs]),
        ("options", [word for one in verb.options for word in _option(one)]),
        (
            "arguments",
            [
                _kind(one.value) + ("..." if one.repeats else "")
                for one in verb.arguments
            ],
        ),
    ):
        if words:
            lines.append(f"        {variable}='{' '.join(words)}'")
    return "\n".join([*lines, "        ;;\n"])


def _option(option: Option) -> list[str]:
    value = f"={_kind(option.value)}" if option.value else ""
    return [f"{name}{value}" for name in option.names]


def _kind(value: Value) -> str:
    return "|".join(value.words) or value.kind or "-"


_HOSTS = r"""
# Print the hosts of all profiles, and those of ssh_config(5) for what ssh may know.
_@PROGRAM@_hosts() {
    local directory=${XDG_CONFIG_HOME:-} file files=()
    if [[ $directory != /* ]]; then
        directory=~/Library/Application\ Support # of macOS
        [[ -d $directory/spassh ]] || directory=~/.config
    fi
    directory=${SPASSH_CONFIG_HOME:-$directory/spassh}
    for file in "$directory"/profiles/*.toml; do
        [[ -f $file && -r $file ]] && files+=("$file")
    done
    files=("${files[@]:0:@FILES@}")
    [[ $1 == target && -f ~/.ssh/config && -r ~/.ssh/config ]] && files+=(~/.ssh/config)
    [[ ${#files[@]} -eq 0 ]] || LC_ALL=C awk -- '@AWK@' "${files[@]}" 2>/dev/null
}
"""

_USERS = r"""
# Print the users that have a file.
_@PROGRAM@_users() {
    local file name at directory=@USERS@
    for ((at = 0; at < ${#words[@]} - 1; at++)); do
        case ${words[at]} in
        --config) directory=${words[at + 1]%/*} ;;
        --config=*) file=${words[at]#*=} && directory=${file%/*} ;;
        esac
    done
    local count=0
    for file in "$directory"/users.d/*.toml; do
        name=${file##*/}
        name=${name%.toml}
        [[ $name =~ ^[A-Za-z0-9_][A-Za-z0-9._-]*$ ]] && printf '%s\n' "$name"
        ((++count < @FILES@)) || break
    done
}
"""

_FINDERS = {
    "host": (
        _HOSTS,
        '        host | target) _@PROGRAM@_hosts "$kind" | LC_ALL=C sort -u ;;\n',
    ),
    "user": (_USERS, "        user) _@PROGRAM@_users ;;\n"),
}
"""What finds words of a kind, and how that is called."""

_TEMPLATE = r"""
# Set what can follow a verb. An option that takes a value has "=" and what that is: a
# kind, choices with "|" between, or "-" if nothing is known of it.
_@PROGRAM@_describe() {
    verbs='' options='' arguments=''
    case $1 in
@CASES@    esac
}
@FINDERS@
# Offer what begins with $3 of what $1 is, each with $2 before it.
_@PROGRAM@_offer() {
    local kind=$1 before=$2 begun=$3 word
    case $kind in
    - | '') return ;;
    file)
        compopt -o filenames 2>/dev/null
        while IFS= read -r word; do
            COMPREPLY+=("$before$word")
        done < <(compgen -f -- "$begun")
        return
        ;;
    target)
        if [[ $begun == *@* ]]; then
            before+=${begun%@*}@
            begun=${begun##*@}
        fi
        ;;
    esac
    while IFS= read -r word; do
        [[ -n $word && $word == "$begun"* ]] && COMPREPLY+=("$before$word")
    done < <(
        case $kind in
@BRANCHES@        *) printf '%s\n' "${kind//|/$'\n'}" ;;
        esac
    )
}

_@PROGRAM@() {
    # Of our own making: COMP_WORDS is cut at "@", "=" and ":".
    local line=${COMP_LINE:0:COMP_POINT} words=() word option
    read -ra words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=('')
    local last=$((${#words[@]} - 1)) at verb='' verbs options arguments
    local cur=${words[last]}
    COMPREPLY=()

    _@PROGRAM@_describe ''
    for ((at = 1; at < last && ${#verbs}; at++)); do
        [[ ${words[at]} == -* ]] && continue
        verb=${verb:+$verb }${words[at]}
        _@PROGRAM@_describe "$verb"
    done

    local kind='' count=0 only_arguments=''
    for (( ; at < last; at++)); do
        word=${words[at]}
        if [[ -n $kind ]]; then
            kind=''
        elif [[ -z $only_arguments && $word == -- ]]; then
            only_arguments=1
        elif [[ -z $only_arguments && $word == -?* ]]; then
            for option in $options; do
                [[ $option == "$word="* ]] && kind=${option#*=}
            done
        else
            count=$((count + 1))
        fi
    done

    if [[ -n $kind ]]; then
        _@PROGRAM@_offer "$kind" '' "$cur"
    elif [[ -z $only_arguments && $cur == --*=* ]]; then
        for option in $options; do
            [[ $option == "${cur%%=*}="* ]] &&
                _@PROGRAM@_offer "${option#*=}" "${cur%%=*}=" "${cur#*=}"
        done
    elif [[ -z $only_arguments && $cur == -* ]]; then
        for option in $options; do
            option=${option%%=*}
            [[ $option == "$cur"* ]] && COMPREPLY+=("$option")
        done
    elif [[ -n $verbs ]]; then
        _@PROGRAM@_offer "${verbs// /|}" '' "$cur"
    else
        for kind in $arguments; do
            [[ $kind == *... || $count -eq 0 ]] && break
            count=$((count - 1))
            kind=''
        done
        _@PROGRAM@_offer "${kind%...}" '' "$cur"
    fi

    # readline replaces what stands behind the last of these, and "@" as well.
    local mark before=''
    for mark in : = @; do
        if [[ $COMP_WORDBREAKS == *$mark* && $cur == *"$mark"* ]]; then
            word=${cur%"$mark"*}${mark#@}
            [[ ${#word} -gt ${#before} ]] && before=$word
        fi
    done
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
}

complete -F _@PROGRAM@ @PROGRAM@
"""
