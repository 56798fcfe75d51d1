"""Run as `python flood.py ADDRESS PORT`: connect from ever new ports, without pause.

It prints a line when it has begun, and ends with its standard input. Then it prints how
many connections it began, and how many of them were answered in whatever way.
"""

import select
import socket
import sys

_AT_ONCE = 64

address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
poll = select.poll()
poll.register(0, select.POLLIN | select.POLLHUP)
under_way: list[socket.socket] = []
begun = answered = 0
ended = False
while not ended:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.connect_ex((address, port))
    begun += 1
    if begun == 1:
        sys.stdout.write("begun\n")
        sys.stdout.flush()
    under_way.append(sock)
    poll.register(sock, select.POLLOUT)
    if len(under_way) > _AT_ONCE:
        oldest = under_way.pop(0)
        poll.unregister(oldest)
        oldest.close()
    for fd, _ in poll.poll(2):
        if fd == 0:
            ended = True
            continue
        answered += 1
        poll.unregister(fd)
        (found,) = (one for one in under_way if one.fileno() == fd)
        under_way.remove(found)
        found.close()
sys.stdout.write(f"{begun} {answered}\n")
