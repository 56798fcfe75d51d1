"""Every bound of the daemon, in one place. Units are in the names or beside them."""

from typing import Final

REPLAY_CAPACITY: Final = 65_536
"""Accepted datagrams remembered. At two a second that is nine hours of logins."""

REQUEST_BURST: Final = 100
"""Requests that a user may make at once: a script that copies a hundred files."""
REQUESTS_PER_SECOND: Final = 5
"""Requests that a user may make for long. With both, one user adds at most 700 to the
replay memory within the two minutes that a packet's time may lie in: 1 % of it."""
SIGNED_BURST: Final = 10
"""Signed requests of a user that gpg looks at, at once: a few logins side by side."""
SIGNED_PER_SECOND: Final = 3
"""The same for long. Each takes gpg 10 to 40 ms."""
MAX_OUTSTANDING_MESSAGES: Final = 4
"""OpenPGP messages on their way to the helper, one of each user. It looks at two at
once. Fewer than fill the socket, so nobody blocks."""
MAX_WAITING_MESSAGES: Final = 128
"""OpenPGP messages that wait for their turn; more are dropped and counted."""
MAX_WAITING_MESSAGES_PER_USER: Final = SIGNED_BURST
MAX_SEEN_MESSAGES: Final = 4096
"""OpenPGP messages of fwknop's clients that gpg is asked about once. At three a second
that is what a user can have asked in 20 minutes."""
MAX_GRANTS_PER_USER: Final = 128
"""Live grants of one user: each connection takes one if it is granted by its source
port, so this is more than REQUEST_BURST. It is 3 % of the default of max_grants, so one
user cannot use up what all share."""

MAX_USER_FILES: Final = 16_384
"""Files in users_dir that the granter hands to the listener."""
MAX_FILE_BYTES: Final = 65_536
"""Size of any file that an administrator writes for us."""
MAX_KEYS_PER_USER: Final = 16
MAX_OPENPGP_KEYS_PER_USER: Final = 16
MAX_FWKNOP_KEYS: Final = 256
"""Keys for packets of fwknop, of all users together. Nothing in a packet says whose it
is, so all of them are tried for each that a stranger sends: 7 µs for a key, and 2 ms
for these; without an HMAC 20 µs, and 5 ms. Those for GnuPG are among them."""
MAX_FWKNOP_TRANSPORTS: Final = 16
"""What makes the filter of the capture longer: the kernel has room for 2,400
instructions where net.core.optmem_max is 20 KiB."""
MAX_USERS_IN_MAIN_FILE: Final = 256
MAX_ALWAYS_ALLOW: Final = 64
"""Networks that need no grant: some back ends have a rule for each of them and port."""
MAX_FORWARDS: Final = 32
MAX_COMMANDS: Final = 64
MAX_PROGRAM_WORDS: Final = 64
"""Words of a hook or of a command, the program among them."""

ADDRESSES_PER_USER: Final = 64
"""Addresses of a user that the granter keeps in mind, to end their connections."""

FRAMES_PER_TURN: Final = 32
"""Frames read from one capture before the others, signals and answers get a turn. With
more, the granter would be done with MAX_OUTSTANDING_GRANTS and wait for us."""

MAX_REPEATS: Final = 4096
"""Rejected packets that are known again by their bytes: some 2 MB of memory, and 8 if
all of them were large."""

MAX_COUNTED: Final = 32_768
"""Packets that the kernel counts the copies of: some 2.5 MB of its memory. They all had
the right tag. With more than these, those that were not seen for the longest go."""
COPIES_THAT_PASS: Final = 8
"""Copies of a packet that the kernel lets through, the genuine one among them, which is
heard once at each of the interfaces that it passes: a port, a bond, a bridge."""

SNAPLEN: Final = 2048
"""Bytes of a frame that libpcap keeps: the largest datagram and every header before."""
CAPTURE_BUFFER_BYTES: Final = 4 * 1024 * 1024
MAX_PIPED_BYTES: Final = 64 * 1024 * 1024
"""Size of a capture file that comes through a pipe, and is copied to be read."""

GRANTED_LINES_PER_SECOND: Final = 200
"""Beyond these, lines about what was granted are counted instead of written."""
OTHER_LINES_PER_SECOND: Final = 5
"""The same for lines that a stranger can provoke: they must not hide the others."""
HOOK_LINES_PER_SECOND: Final = 10
"""The same for hooks that failed. A broken hook fails at each grant, and says the same
each time. Commands have no such limit: who ran what is never left out, and the granter
starts no more than 80 at once and then four a second, see privsep/bounds.py."""
OUTPUT_LINES_PER_SECOND: Final = 100
"""The same for what commands and hooks print: whoever may run one must not fill a disk
with it."""

CONTROL_MESSAGE_BYTES: Final = 65_536
CONTROL_CONNECTIONS: Final = 16

REPAIR_SECONDS: Final = 1
"""Shortest time between two looks at whether foreign chains still lead to ours."""

TRIAL_SECONDS: Final = 120
"""How long a drop is on trial if nobody says: time for a login with passwords."""
MIN_TRIAL_SECONDS: Final = 10
MAX_TRIAL_SECONDS: Final = 3600
"""Longer, and whoever is shut out takes another way than to wait for it."""
MAX_PROVED: Final = 1024
"""Addresses and ports that were let in during a trial, as the granter has them."""

MAX_OUTSTANDING_GRANTS: Final = 8
"""Grants on their way to the granter, which takes them in the order of their coming: as
few as keep it busy, so that who asks next does not wait for many of somebody else. And
fewer than fill the socket, so nobody blocks."""
MAX_WAITING_GRANTS: Final = 4096
"""Grants that wait in the listener for their turn; more are dropped and counted."""
MAX_WAITING_PER_USER: Final = 128
"""The same of one user: more than REQUEST_BURST."""

MAX_TOLD_ERRORS: Final = 50
"""Errors of a reload that whoever asked for it is told; the log has them all."""

SYNC_QUIET_MS: Final = 50
"""Milliseconds without anything to do after which the replay store is synced."""
SYNC_SECONDS: Final = 1
"""Seconds after which it is synced even if there is always something to do."""

MIN_PASSPHRASE: Final = 12
"""Letters of a passphrase that seals an invite: as many as OWASP's ASVS asks for. Who
has the invite can try passphrases at home, and nobody notices."""
