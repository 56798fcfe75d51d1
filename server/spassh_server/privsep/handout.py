"""Hand the files that have users to the listener, which cannot open them itself.

It gets them open for reading: what is in them, the granter does not look at.
"""

import os
import socket

from .. import events
from ..config import Config
from ..limits import MAX_USER_FILES
from . import message
from .message import Answer

_MAX_NAME = 48


class Handout:
    """The directory of the users' files, and the configuration file."""

    def __init__(self, settings: Config) -> None:
        """Open the directory, while root may still enter directories of others.

        Raises:
            OSError: it cannot be opened.
        """
        self._path = settings.users_dir
        self._main = settings.path
        self._directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)

    def send(self, sock: socket.socket, number: int) -> None:
        """Send every file, each with one answer to message `number`, and the end."""
        _send_file(sock, Answer(message.MAIN_FILE, number), self._main, None)
        try:
            self._reopen()
            names = self._names()
        except OSError as error:
            events.error(f"{self._path}: {error.strerror}")
            # A directory that is gone is no empty one, and its users stay as before.
            sock.send(message.encode_answer(Answer(message.NO_USERS_DIR, number)))
            names = []
        for name in names:
            answer = Answer(message.USER_FILE, number, name)
            _send_file(sock, answer, name, self._directory)
        sock.send(message.encode_answer(Answer(message.USERS_END, number)))

    def _names(self) -> list[str]:
        names = sorted(
            name for name in os.listdir(self._directory) if name.endswith(".toml")
        )
        usable = [name for name in names if name.isascii() and len(name) <= _MAX_NAME]
        for name in sorted(set(names) - set(usable)):
            # A user whose file is passed over in silence is a user locked out.
            events.error(f"{self._path}: {name!a}: not the name of a user's file")
        if len(usable) > MAX_USER_FILES:
            events.error(f"users_dir: only the first {MAX_USER_FILES} files are read")
        return usable[:MAX_USER_FILES]

    def _reopen(self) -> None:
        """Open the directory anew, in case it was replaced.

        Raises:
            OSError: it is not there any more.
        """
        try:
            fresh = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            # The directories above belong to somebody else: that is why it stays open.
            if os.fstat(self._directory).st_nlink:
                return
            raise
        os.close(self._directory)
        self._directory = fresh


def _send_file(
    sock: socket.socket, answer: Answer, path: str, directory: int | None
) -> None:
    data = message.encode_answer(answer)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, dir_fd=directory)
    except OSError as error:
        events.error(f"{path}: {error.strerror}")
        # Without a descriptor: the file is there, so its users stay as before.
        sock.send(data)
        return
    try:
        socket.send_fds(sock, [data], [fd])
    finally:
        os.close(fd)
