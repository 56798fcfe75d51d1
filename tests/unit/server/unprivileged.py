"""A listener that has become nobody, in a fresh Python: what does it still import?

Run as `python -m unit.server.unprivileged DIRECTORY`, with packets in hex on standard
input. DIRECTORY has users.d; the answer on standard output is JSON.
"""

import json
import os
import sys
from pathlib import Path

from unit.server.parties import NOW
from unit.server.rig import Rig

from spassh_server import listener
from spassh_server.firewall import Width
from spassh_server.privsep import message
from spassh_server.privsep.message import Answer
from spassh_server.privsep.sandbox import become
from spassh_server.store import MAX_BYTES

NOBODY = 65534


class Watcher:
    """Asked for every module that is not loaded yet; finds none of them."""

    imported: list[str] = []  # noqa: RUF012 - one list for one run

    @classmethod
    def find_spec(cls, name: str, *_: object) -> None:
        cls.imported.append(name)


def main() -> None:
    packets = [bytes.fromhex(line) for line in sys.stdin.read().split("\n")]
    directory = Path(sys.argv[1])
    rig = Rig(directory, ready=False)
    files = sorted(os.listdir(rig.users_dir))
    main_file = os.open(rig.main_file, os.O_RDONLY)
    fds = [os.open(rig.users_dir / name, os.O_RDONLY) for name in files]
    vars(listener)["now_ms"] = lambda: NOW
    sys.meta_path.insert(0, Watcher)
    become(NOBODY, NOBODY, file_bytes=MAX_BYTES)

    rig.begin()
    rig.widths(Width.FLOW, Width.ADDRESS)
    rig.listener._reload.add(Answer(message.MAIN_FILE, 1), [main_file])
    for name, fd in zip(files, fds, strict=True):
        rig.listener._reload.add(Answer(message.USER_FILE, 1, name), [fd])
    rig.answer(message.USERS_END, 1)
    rig.frames(*packets)
    rig.frames(packets[0], source="198.51.100.9")
    rig.answer(message.GRANTED, 1)
    rig.answer(message.GRANTED, 2)
    for request in ("revoke ada", "kill 192.0.2.7", "revoke 224.0.0.1", "nonsense"):
        rig.ask(request)
    rig.answer(message.REVOKED, 3, grants=1)
    rig.answer(message.FAILED, 4)
    rig.answer(message.PONG, 0)
    rig.store.sync()
    state = rig.ask("status")
    text = json.dumps(state | {"imported": Watcher.imported})

    sys.meta_path.remove(Watcher)
    sys.stdout.write(text)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
