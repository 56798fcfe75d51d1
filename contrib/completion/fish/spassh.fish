# Completion of spassh for fish. Made by scripts/completions from what reads the
# command line: do not edit.

# Whether the verb is $argv[1], and has $argv[2] arguments already, if that is given.
function __spassh_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l verb ''
    while set -q words[1]; and contains -- "$verb" ''
        string match -q -- '-*' $words[1]
        or set verb (string trim -- "$verb $words[1]")
        set -e words[1]
    end
    test "$verb" = "$argv[1]"; or return 1
    set -q argv[2]; or return 0
    set -l valued
    switch $verb
        case 'enroll'
            set valued -p --name --gnupg
        case 'rotate'
            set valued -p
        case 'doctor'
            set valued -p
        case 'import'
            set valued --host --passphrase-file
        case 'knock'
            set valued --access --for --allow --resolve-url
        case 'lock'
            set valued -p
        case 'unlock'
            set valued -p
    end
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

# Print the hosts of all profiles, and those of ssh_config(5) for what ssh may know.
function __spassh_hosts
    set -l directory ~/Library/Application\ Support/spassh # of macOS
    test -d $directory; or set directory ~/.config/spassh
    string match -q -- '/*' "$XDG_CONFIG_HOME"
    and set directory $XDG_CONFIG_HOME/spassh
    test -n "$SPASSH_CONFIG_HOME"; and set directory $SPASSH_CONFIG_HOME
    set -l files
    for file in $directory/profiles/*.toml
        test -f $file -a -r $file; and set -a files $file
        test (count $files) -lt 200; or break
    end
    test "$argv[1]" = target -a -f ~/.ssh/config -a -r ~/.ssh/config
    and set -a files ~/.ssh/config
    set -q files[1]; and LC_ALL=C awk -- '
    NR > 10000 { exit }
    tolower($1) == "host" {
        for (i = 2; i <= NF; i++) offer($i)
    }
    /^[ \t]*hosts[ \t]*=/ { inside = 1 }
    inside {
        rest = $0
        while (match(rest, /"[^"]*"/)) {
            name = substr(rest, RSTART + 1, RLENGTH - 2)
            rest = substr(rest, RSTART + RLENGTH)
            sub(/^.*@/, "", name)
            offer(name)
        }
        if (rest ~ /\]/) inside = 0
    }
    function offer(name) {
        if (name ~ /^[A-Za-z0-9_:][A-Za-z0-9._:%-]*$/) print name
    }
' $files 2>/dev/null
end

# Print those that ssh knows as well, after a login if there is one.
function __spassh_targets
    set -l login (string match -r -- '^.*@' (commandline -ct))
    for host in (__spassh_hosts target)
        echo "$login$host"
    end
end

complete -c spassh -f
complete -c spassh -n "__spassh_at '' 0" -a proxy -d 'connect ssh to a port behind spassh: its ProxyCommand'
complete -c spassh -n "__spassh_at '' 0" -a enroll -d 'make yourself known to a server, over the SSH that works now'
complete -c spassh -n "__spassh_at '' 0" -a rotate -d 'replace your key for a server by a fresh one'
complete -c spassh -n "__spassh_at '' 0" -a doctor -d 'say why a login does not work or is slow, and what mends it'
complete -c spassh -n "__spassh_at '' 0" -a import -d 'take an invite in: the server\'s keys, and where to knock'
complete -c spassh -n "__spassh_at '' 0" -a import-fwknop -d 'make profiles of the stanzas of fwknop\'s client'
complete -c spassh -n "__spassh_at '' 0" -a keygen -d 'make a key of your own, and print its public half'
complete -c spassh -n "__spassh_at '' 0" -a knock -d 'ask a server to open a port, for what is not ssh'
complete -c spassh -n "__spassh_at '' 0" -a run -d 'ask a server to run a command that its administrator lets you run'
complete -c spassh -n "__spassh_at '' 0" -a lock -d 'have a server drop its SSH port for everybody without a knock'
complete -c spassh -n "__spassh_at '' 0" -a unlock -d 'have a server open its SSH port for everybody again'
complete -c spassh -n "__spassh_at '' 0" -a list -d 'print the profiles: file, user and hosts'
complete -c spassh -n "__spassh_at '' 0" -a show -d 'print what is known of a server, without the secrets'
complete -c spassh -n "__spassh_at '' 0" -a forget -d 'remove the profile of a server'
complete -c spassh -n "__spassh_at ''" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at ''" -l version -d 'show program\'s version number and exit'
complete -c spassh -n "__spassh_at 'proxy'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'proxy'" -l fdpass -d 'hand over the socket itself; needs \'ProxyUseFdpass yes\' in ssh_config'
complete -c spassh -n "__spassh_at 'proxy'" -s v -l verbose -d 'tell the story, with times'
complete -c spassh -n "__spassh_at 'proxy' 0" -a '(__spassh_hosts)'
complete -c spassh -n "__spassh_at 'enroll'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'enroll'" -s p -x -d 'the port of sshd there'
complete -c spassh -n "__spassh_at 'enroll'" -l name -x -d 'what spasshd calls you; by default your login and the name of this computer'
complete -c spassh -n "__spassh_at 'enroll'" -l gnupg -x -d 'sign each request with this OpenPGP key of yours as well'
complete -c spassh -n "__spassh_at 'enroll'" -l yes -d 'add an Include to ~/.ssh/config without asking'
complete -c spassh -n "__spassh_at 'enroll'" -s v -l verbose -d 'tell the story, with times'
complete -c spassh -n "__spassh_at 'enroll' 0" -a '(__spassh_targets)'
complete -c spassh -n "__spassh_at 'rotate'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'rotate'" -s p -x -d 'the port of sshd there'
complete -c spassh -n "__spassh_at 'rotate'" -s v -l verbose -d 'tell the story, with times'
complete -c spassh -n "__spassh_at 'rotate' 0" -a '(__spassh_targets)'
complete -c spassh -n "__spassh_at 'doctor'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'doctor'" -s p -x -d 'the port of sshd there'
complete -c spassh -n "__spassh_at 'doctor'" -l json -d 'print JSON on one line'
complete -c spassh -n "__spassh_at 'doctor'" -s v -l verbose -d 'tell the story, with times'
complete -c spassh -n "__spassh_at 'doctor' 0" -a '(__spassh_targets)'
complete -c spassh -n "__spassh_at 'import'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'import'" -l host -x -d 'another name or address of the server, as you give it to ssh; may be repeated'
complete -c spassh -n "__spassh_at 'import'" -l force -d 'take the profile over, even if it belongs to another server or another user; replace it if it is broken'
complete -c spassh -n "__spassh_at 'import'" -l passphrase-file -r -F -d 'a private file with the passphrase of a sealed invite, which is asked for on the terminal otherwise'
complete -c spassh -n "__spassh_at 'import' 0" -F
complete -c spassh -n "__spassh_at 'import-fwknop'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'import-fwknop' 0" -F
complete -c spassh -n "__spassh_at 'keygen'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'knock'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'knock'" -l access -x -d 'the port to open, such as tcp/443 or udp/60001; tcp/22 if left out'
complete -c spassh -n "__spassh_at 'knock'" -l for -x -d 'how long to keep it open, such as 30s or 5m; the server has its own limit, and its own value if this is left out'
complete -c spassh -n "__spassh_at 'knock'" -l allow -x -d 'whom to let in, if the server permits to name another address than the one that the packet comes from'
complete -c spassh -n "__spassh_at 'knock'" -l resolve-url -x -d 'ask there for the address that this computer has outside, and have that let in'
complete -c spassh -n "__spassh_at 'knock' 0" -a '(__spassh_hosts)'
complete -c spassh -n "__spassh_at 'run'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'run' 0" -a '(__spassh_hosts)'
complete -c spassh -n "__spassh_at 'lock'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'lock'" -s p -x -d 'the port of sshd there'
complete -c spassh -n "__spassh_at 'lock'" -s v -l verbose -d 'tell the story, with times'
complete -c spassh -n "__spassh_at 'lock' 0" -a '(__spassh_targets)'
complete -c spassh -n "__spassh_at 'unlock'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'unlock'" -s p -x -d 'the port of sshd there'
complete -c spassh -n "__spassh_at 'unlock'" -s v -l verbose -d 'tell the story, with times'
complete -c spassh -n "__spassh_at 'unlock' 0" -a '(__spassh_targets)'
complete -c spassh -n "__spassh_at 'list'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'show'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'show' 0" -a '(__spassh_hosts)'
complete -c spassh -n "__spassh_at 'forget'" -s h -l help -d 'show this help message and exit'
complete -c spassh -n "__spassh_at 'forget' 0" -a '(__spassh_hosts)'
