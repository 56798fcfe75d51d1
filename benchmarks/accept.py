"""Run as `accept.py PORT` on the server: takes each connection, and ends it at once."""

import socket
import sys


def main() -> None:
    address = ("", int(sys.argv[1]))
    with socket.create_server(
        address, family=socket.AF_INET6, dualstack_ipv6=True
    ) as listener:
        print("ready", flush=True)
        while True:
            listener.accept()[0].close()


if __name__ == "__main__":
    main()
