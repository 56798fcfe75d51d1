"""Every variable of fwknopd's files, and where it went. spasshd.toml(5) has the table.

What is carried over has a function of its own in `fwknop_import`. Of what is not, this
says why; it is told with its line, so that nothing is dropped in silence.
"""

from typing import Final

CARRIED: Final = frozenset(
    {
        "ACCESS_EXPIRE",
        "ACCESS_EXPIRE_EPOCH",
        "ENCRYPTION_MODE",
        "FW_ACCESS_TIMEOUT",
        "GPG_ALLOW_NO_PW",
        "GPG_FINGERPRINT_ID",
        "GPG_REMOTE_ID",
        "GPG_REQUIRE_SIG",
        "HMAC_DIGEST_TYPE",
        "HMAC_KEY",
        "HMAC_KEY_BASE64",
        "KEY",
        "KEY_BASE64",
        "MAX_FW_TIMEOUT",
        "OPEN_PORTS",
        "REQUIRE_USERNAME",
        "RESTRICT_PORTS",
        "SOURCE",
    }
)
"""Of access.conf."""

_NAT = "write a [[forward]] by hand, and forwards in the user's file"
_HOOK = "write on_open and on_close by hand"
_COMMAND = "write a [[command]] for each command, and commands in the user's file"
_GPG_HOME = "put its keys into gnupg_dir"
UNSIGNED: Final = "what is not signed is not taken"

DECISIVE: Final = {
    "FORCE_NAT": _NAT,
    "CMD_CYCLE_OPEN": _HOOK,
}
"""Without these, a stanza would open something else than it did: it is left out."""

LEFT: Final = {
    "DESTINATION": "the address that a packet is sent to is not looked at",
    "ENABLE_CMD_EXEC": _COMMAND,
    "ENABLE_CMD_SUDO_EXEC": _COMMAND,
    "CMD_EXEC_USER": "run_as of a [[command]]",
    "CMD_EXEC_GROUP": "a [[command]] has the groups of its account",
    "CMD_SUDO_EXEC_USER": "run_as of a [[command]]",
    "CMD_SUDO_EXEC_GROUP": "a [[command]] has the groups of its account",
    "CMD_EXEC_TIMEOUT": "timeout of a [[command]]",
    "SUDO_EXE": "sudo is not used",
    "CMD_CYCLE_CLOSE": _HOOK,
    "CMD_CYCLE_TIMER": _HOOK,
    "REQUIRE_SOURCE_ADDRESS": "a packet may leave the address to its source",
    "REQUIRE_SOURCE": "a packet may leave the address to its source",
    "FORCE_SNAT": "masquerade of a [[forward]]",
    "FORCE_MASQUERADE": "masquerade of a [[forward]]",
    "FORWARD_ALL": "a [[forward]] is for one port",
    "DISABLE_DNAT": "a [[forward]] is for one port",
    "GPG_HOME_DIR": _GPG_HOME,
    "GPG_EXE": "gpg_path",
    "GPG_DECRYPT_ID": "the one secret key in gnupg_dir",
    "GPG_DECRYPT_PW": "the key in gnupg_dir has no passphrase",
    "GPG_DISABLE_SIG": UNSIGNED,
    "GPG_IGNORE_SIG_VERIFY_ERROR": "a signature that is not good is not taken",
}
"""The rest of access.conf."""

CARRIED_CONF: Final = frozenset(
    {"ACCESS_FILE", "ENABLE_SPA_OVER_HTTP", "PCAP_FILTER", "PCAP_INTF"}
)
"""Of fwknopd.conf."""

_CAPTURE = "the capture takes care of it"
_FIREWALL = "the packet filter is driven in another way: see backend"
_SERVER = "nothing listens here: another service has to take the connections"
_REPLAY = "the replay memory is always there, and its window is a minute"

LEFT_CONF: Final = {
    "ACCESS_FOLDER": "import each of its directories by itself",
    "ENABLE_PCAP_PROMISC": _CAPTURE,
    "ENABLE_PCAP_ANY_DIRECTION": _CAPTURE,
    "PCAP_DISPATCH_COUNT": _CAPTURE,
    "PCAP_LOOP_SLEEP": _CAPTURE,
    "PCAP_FILE": "spasshd run --pcap",
    "MAX_SNIFF_BYTES": _CAPTURE,
    "EXIT_AT_INTF_DOWN": "the capture waits for an interface that is gone",
    "ENABLE_SPA_PACKET_AGING": _REPLAY,
    "MAX_SPA_PACKET_AGE": _REPLAY,
    "ENABLE_DIGEST_PERSISTENCE": _REPLAY,
    "DIGEST_FILE": "state_dir",
    "RULES_CHECK_THRESHOLD": "the kernel ends grants",
    "ENABLE_IPT_FORWARDING": _NAT,
    "ENABLE_IPT_LOCAL_NAT": "a port of this host leads to itself alone",
    "ENABLE_IPT_SNAT": "masquerade of a [[forward]]",
    "SNAT_TRANSLATE_IP": "masquerade of a [[forward]]",
    "ENABLE_IPT_OUTPUT": "packets that leave are not filtered",
    "ENABLE_IPT_COMMENT_CHECK": _FIREWALL,
    "ENABLE_RULE_PREPEND": _FIREWALL,
    "ENABLE_DESTINATION_RULE": "a grant is for every address of this host",
    "FLUSH_IPT_AT_INIT": "live grants stay when the daemon starts",
    "FLUSH_IPT_AT_EXIT": "live grants stay when the daemon ends",
    "IPT_INPUT_ACCESS": _FIREWALL,
    "IPT_OUTPUT_ACCESS": _FIREWALL,
    "IPT_FORWARD_ACCESS": _FIREWALL,
    "IPT_DNAT_ACCESS": _FIREWALL,
    "IPT_SNAT_ACCESS": _FIREWALL,
    "IPT_MASQUERADE_ACCESS": _FIREWALL,
    "FIREWALL_EXE": _FIREWALL,
    "FIREWD_DNAT_ACCESS": _FIREWALL,
    "FIREWD_FORWARD_ACCESS": _FIREWALL,
    "FIREWD_INPUT_ACCESS": _FIREWALL,
    "FIREWD_MASQUERADE_ACCESS": _FIREWALL,
    "FIREWD_OUTPUT_ACCESS": _FIREWALL,
    "FIREWD_SNAT_ACCESS": _FIREWALL,
    "IPFW_ACTIVE_SET_NUM": _FIREWALL,
    "IPFW_EXPIRE_PURGE_INTERVAL": _FIREWALL,
    "IPFW_EXPIRE_SET_NUM": _FIREWALL,
    "IPFW_MAX_RULES": _FIREWALL,
    "IPFW_START_RULE_NUM": _FIREWALL,
    "PF_ANCHOR_NAME": _FIREWALL,
    "PF_EXPIRE_INTERVAL": _FIREWALL,
    "ENABLE_FIREWD_COMMENT_CHECK": _FIREWALL,
    "ENABLE_NFQ_CAPTURE": _CAPTURE,
    "NFQ_CHAIN": _CAPTURE,
    "NFQ_INTERFACE": _CAPTURE,
    "NFQ_PORT": _CAPTURE,
    "NFQ_QUEUE_NUMBER": _CAPTURE,
    "NFQ_TABLE": _CAPTURE,
    "ENABLE_EXTERNAL_CMDS": _HOOK,
    "ENABLE_EXT_CMD_PREFIX": _HOOK,
    "EXTERNAL_CMD_ALARM": _HOOK,
    "EXTERNAL_CMD_CLOSE": _HOOK,
    "EXTERNAL_CMD_OPEN": _HOOK,
    "EXT_CMD_PREFIX": _HOOK,
    "ENABLE_FIREWD_FORWARDING": _NAT,
    "ENABLE_FIREWD_LOCAL_NAT": "a port of this host leads to itself alone",
    "ENABLE_FIREWD_SNAT": "masquerade of a [[forward]]",
    "ENABLE_FIREWD_OUTPUT": "packets that leave are not filtered",
    "FLUSH_FIREWD_AT_INIT": "live grants stay when the daemon starts",
    "FLUSH_FIREWD_AT_EXIT": "live grants stay when the daemon ends",
    "FLUSH_IPFW_AT_INIT": "live grants stay when the daemon starts",
    "FLUSH_IPFW_AT_EXIT": "live grants stay when the daemon ends",
    "DIGEST_DB_FILE": "state_dir",
    "ENABLE_NAT_DNS": "names in packets are not looked up",
    "ENABLE_X_FORWARDED_FOR": "what a header says of the source is not believed",
    "ALLOW_ANY_USER_AGENT": "the user agent is not looked at",
    "ENABLE_TCP_SERVER": _SERVER,
    "TCPSERV_PORT": _SERVER,
    "ENABLE_UDP_SERVER": "packets are captured, and no socket takes them",
    "UDPSERV_PORT": "knock_port, if that is where the clients knock",
    "UDPSERV_SELECT_TIMEOUT": "packets are captured, and no socket takes them",
    "LOCALE": "messages are English",
    "SYSLOG_IDENTITY": "log",
    "SYSLOG_FACILITY": "log",
    "VERBOSE": "the log says all that matters",
    "FWKNOP_CONF_DIR": "paths are relative to spasshd.toml",
    "FWKNOP_RUN_DIR": "run_dir",
    "FWKNOP_PID_FILE": "run_dir has the lock",
    "GPG_HOME_DIR": _GPG_HOME,
    "GPG_EXE": "gpg_path",
    "SUDO_EXE": "sudo is not used",
}
"""The rest of fwknopd.conf."""
