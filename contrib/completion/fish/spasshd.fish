# Completion of spasshd for fish. Made by scripts/completions from what reads the
# command line: do not edit.

# Whether the verb is $argv[1], and has $argv[2] arguments already, if that is given.
function __spasshd_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l verb ''
    while set -q words[1]; and contains -- "$verb" '' 'user'
        string match -q -- '-*' $words[1]
        or set verb (string trim -- "$verb $words[1]")
        set -e words[1]
    end
    test "$verb" = "$argv[1]"; or return 1
    set -q argv[2]; or return 0
    set -l valued
    switch $verb
        case 'init'
            set valued --config --protect --backend --address
        case 'user add'
            set valued --config --key --address --valid-for --passphrase-file --beside --port --gnupg
        case 'user rotate'
            set valued --config --key --address --valid-for --passphrase-file --overlap
        case 'user list'
            set valued --config
        case 'user remove'
            set valued --config --key
        case 'import-fwknop'
            set valued --config
        case 'check'
            set valued --config
        case 'doctor'
            set valued --config
        case 'explain'
            set valued --config --source --source-port --now
        case 'run'
            set valued --config --pcap
        case 'status'
            set valued --config
        case 'metrics'
            set valued --config --output
        case 'reload'
            set valued --config
        case 'revoke'
            set valued --config
        case 'flush'
            set valued --config
        case 'protect'
            set valued --config --confirm-within
        case 'confirm'
            set valued --config
        case 'unprotect'
            set valued --config
        case 'stop'
            set valued --config
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

# Print the users that have a file.
function __spasshd_users
    set -l config /etc/spassh/spasshd.toml
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
        test $count -lt 200; or break
    end
end

complete -c spasshd -f
complete -c spasshd -n "__spasshd_at '' 0" -a init -d 'make the keys and a commented spasshd.toml'
complete -c spasshd -n "__spasshd_at '' 0" -a user -d 'add, rotate, list or remove users'
complete -c spasshd -n "__spasshd_at '' 0" -a import-fwknop -d 'make users of fwknopd\'s access.conf'
complete -c spasshd -n "__spasshd_at '' 0" -a check -d 'find mistakes in configuration and users'
complete -c spasshd -n "__spasshd_at '' 0" -a doctor -d 'look for what keeps people out, or lets them in'
complete -c spasshd -n "__spasshd_at '' 0" -a explain -d 'say what would happen to a packet'
complete -c spasshd -n "__spasshd_at '' 0" -a run -d 'run the daemon in the foreground'
complete -c spasshd -n "__spasshd_at '' 0" -a status -d 'show the daemon\'s state and live grants'
complete -c spasshd -n "__spasshd_at '' 0" -a metrics -d 'print the state for Prometheus'
complete -c spasshd -n "__spasshd_at '' 0" -a reload -d 'take changed users over, as SIGHUP does'
complete -c spasshd -n "__spasshd_at '' 0" -a revoke -d 'take back the live grants of a user or an address'
complete -c spasshd -n "__spasshd_at '' 0" -a flush -d 'take back all live grants'
complete -c spasshd -n "__spasshd_at '' 0" -a protect -d 'drop ports, on trial until that is confirmed'
complete -c spasshd -n "__spasshd_at '' 0" -a confirm -d 'make what is on trial last'
complete -c spasshd -n "__spasshd_at '' 0" -a unprotect -d 'do not drop these ports any more'
complete -c spasshd -n "__spasshd_at '' 0" -a stop -d 'end the daemon; the drop stays in place'
complete -c spasshd -n "__spasshd_at ''" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at ''" -l version -d 'show program\'s version number and exit'
complete -c spasshd -n "__spasshd_at 'init'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'init'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'init'" -l protect -x -d 'drop this port, such as tcp/22, for everybody without a grant; may be repeated (default: protect nothing)'
complete -c spasshd -n "__spasshd_at 'init'" -l backend -x -a 'auto nftables iptables ipfw pf' -d 'the packet filter to drive (default: auto)'
complete -c spasshd -n "__spasshd_at 'init'" -l address -x -d 'name or address for invites (default: the host\'s name)'
complete -c spasshd -n "__spasshd_at 'user' 0" -a add -d 'add a user and print the invite'
complete -c spasshd -n "__spasshd_at 'user' 0" -a rotate -d 'give a user a new key, and end the old ones'
complete -c spasshd -n "__spasshd_at 'user' 0" -a list -d 'list the users and their ports'
complete -c spasshd -n "__spasshd_at 'user' 0" -a remove -d 'remove a user and the keys'
complete -c spasshd -n "__spasshd_at 'user'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'user add'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'user add'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'user add'" -l key -x -d 'the client\'s public key, from \'spassh keygen\' (default: make a key and put it into the invite)'
complete -c spasshd -n "__spasshd_at 'user add'" -l address -x -d 'the server\'s name or address in the invite (default: from the configuration, else the host\'s name)'
complete -c spasshd -n "__spasshd_at 'user add'" -l valid-for -x -d 'end the key that is made after so many days, unless the client has replaced it (default: it has no end)'
complete -c spasshd -n "__spasshd_at 'user add'" -l passphrase -d 'seal the invite with a passphrase, which is asked for on the terminal'
complete -c spasshd -n "__spasshd_at 'user add'" -l passphrase-file -r -F -d 'seal it with the first line of a file that nobody else can read'
complete -c spasshd -n "__spasshd_at 'user add'" -l qr -d 'show the invite on the terminal as a QR code as well'
complete -c spasshd -n "__spasshd_at 'user add'" -l beside -x -d 'add the key to a user who is there already, and has this key'
complete -c spasshd -n "__spasshd_at 'user add'" -l port -x -d 'a port the user may reach, such as tcp/22; may be repeated (default: grant_ports of the configuration)'
complete -c spasshd -n "__spasshd_at 'user add'" -l gnupg -r -F -d 'have requests signed by the OpenPGP public key in this file, or on standard input if it is -; the server\'s is printed behind the invite'
complete -c spasshd -n "__spasshd_at 'user rotate'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'user rotate'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'user rotate'" -l key -x -d 'the client\'s public key, from \'spassh keygen\' (default: make a key and put it into the invite)'
complete -c spasshd -n "__spasshd_at 'user rotate'" -l address -x -d 'the server\'s name or address in the invite (default: from the configuration, else the host\'s name)'
complete -c spasshd -n "__spasshd_at 'user rotate'" -l valid-for -x -d 'end the key that is made after so many days, unless the client has replaced it (default: it has no end)'
complete -c spasshd -n "__spasshd_at 'user rotate'" -l passphrase -d 'seal the invite with a passphrase, which is asked for on the terminal'
complete -c spasshd -n "__spasshd_at 'user rotate'" -l passphrase-file -r -F -d 'seal it with the first line of a file that nobody else can read'
complete -c spasshd -n "__spasshd_at 'user rotate'" -l qr -d 'show the invite on the terminal as a QR code as well'
complete -c spasshd -n "__spasshd_at 'user rotate'" -l overlap -x -d 'how long the old keys go on (default: 7)'
complete -c spasshd -n "__spasshd_at 'user rotate' 0" -a '(__spasshd_users)'
complete -c spasshd -n "__spasshd_at 'user list'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'user list'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'user remove'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'user remove'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'user remove'" -l key -x -d 'remove this one of the user\'s keys, and nothing else'
complete -c spasshd -n "__spasshd_at 'user remove' 0" -a '(__spasshd_users)'
complete -c spasshd -n "__spasshd_at 'import-fwknop'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'import-fwknop'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'import-fwknop' 0" -F
complete -c spasshd -n "__spasshd_at 'check'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'check'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'doctor'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'doctor'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'doctor'" -l json -d 'print JSON on one line'
complete -c spasshd -n "__spasshd_at 'explain'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'explain'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'explain'" -l source -x -d 'where the packet came from, instead of what the file says'
complete -c spasshd -n "__spasshd_at 'explain'" -l source-port -x -d 'the UDP port that it came from'
complete -c spasshd -n "__spasshd_at 'explain'" -l now -x -d 'judge it at this time, such as 2030-01-31T12:00:00Z, or @ and seconds since 1970 (default: when it was captured)'
complete -c spasshd -n "__spasshd_at 'explain'" -l json -d 'print a line of JSON for each packet'
complete -c spasshd -n "__spasshd_at 'explain' 0" -F
complete -c spasshd -n "__spasshd_at 'run'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'run'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'run'" -l pcap -r -F -d 'take the packets from a file, or from standard input if it is -, and end when they are answered'
complete -c spasshd -n "__spasshd_at 'status'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'status'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'status'" -l json -d 'print JSON on one line'
complete -c spasshd -n "__spasshd_at 'metrics'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'metrics'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'metrics'" -l output -r -F -d 'replace this file instead, for the textfile collector of node_exporter'
complete -c spasshd -n "__spasshd_at 'reload'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'reload'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'revoke'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'revoke'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'revoke'" -l kill -d 'end the connections as well that were made with such grants'
complete -c spasshd -n "__spasshd_at 'revoke' 0" -a '(__spasshd_users)'
complete -c spasshd -n "__spasshd_at 'flush'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'flush'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'protect'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'protect'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'protect'" -l confirm-within -x -d 'roll back after this time, such as 90s or 10m, if nobody confirms (default: 2m)'
complete -c spasshd -n "__spasshd_at 'protect'" -l now -d 'for good, and without any confirmation'
complete -c spasshd -n "__spasshd_at 'protect'" -l roll-back -d 'end the trial that is under way'
complete -c spasshd -n "__spasshd_at 'confirm'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'confirm'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'unprotect'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'unprotect'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'stop'" -s h -l help -d 'show this help message and exit'
complete -c spasshd -n "__spasshd_at 'stop'" -l config -r -F -d 'the configuration file (default: /etc/spassh/spasshd.toml)'
complete -c spasshd -n "__spasshd_at 'stop'" -l open -d 'take the drop and everything else out of the packet filter as well'
