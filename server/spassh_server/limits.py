"""Every bound of the daemon, in one place. Units are in the names or beside them."""

from typing import Final

REPLAY_CAPACITY: Final = 65_536
"""Accepted datagrams remembered. At two a second that is nine hours of logins."""

MAX_USER_FILES: Final = 16_384
"""Files in users_dir that the granter hands to the listener."""
MAX_FILE_BYTES: Final = 65_536
"""Size of any file that an administrator writes for us."""
MAX_KEYS_PER_USER: Final = 16

FRAMES_PER_TURN: Final = 256
"""Frames read from one capture before the others, signals and answers get a turn."""

SNAPLEN: Final = 2048
"""Bytes of a frame that libpcap keeps: the largest datagram and every header before."""
CAPTURE_BUFFER_BYTES: Final = 4 * 1024 * 1024

LOG_LINES_PER_SECOND: Final = 20
"""Beyond these, lines that a stranger can provoke are counted instead of written."""

CONTROL_MESSAGE_BYTES: Final = 65_536
CONTROL_CONNECTIONS: Final = 16

REPAIR_SECONDS: Final = 1
"""Shortest time between two looks at whether foreign chains still lead to ours."""

MAX_OUTSTANDING_GRANTS: Final = 128
"""Grants on their way to the granter: fewer than fill the socket, so nobody blocks."""
MAX_WAITING_GRANTS: Final = 4096
"""Grants that wait in the listener for their turn; more are dropped and counted."""

MAX_TOLD_ERRORS: Final = 50
"""Errors of a reload that whoever asked for it is told; the log has them all."""
