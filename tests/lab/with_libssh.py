"""Run as `with_libssh.py HOST KEY FILE THERE BACK CONFIG`: put FILE, and get it."""

import sys

from ssh import options
from ssh.key import import_privkey_file
from ssh.session import Session

_CHUNK = 4096


def main() -> None:
    """Connect, and copy both ways: libssh reads the ProxyCommand by itself."""
    host, key, file, there, back, config = sys.argv[1:]
    session = Session()
    session.options_set(options.HOST, host)
    session.options_set(options.USER, "root")
    session.options_set_int_val(options.TIMEOUT, 120)
    session.options_parse_config(config)
    session.connect()
    session.userauth_publickey(import_privkey_file(key))

    channel = session.channel_new()
    channel.open_session()
    channel.request_exec(f"cat > {there}")
    with open(file, "rb") as source:
        while data := source.read(_CHUNK):
            channel.write(data)
    channel.send_eof()
    channel.read(0)
    channel.close()

    channel = session.channel_new()
    channel.open_session()
    channel.request_exec(f"cat {there}")
    with open(back, "wb") as target:
        while (got := channel.read(_CHUNK))[0] > 0:
            target.write(got[1])
    channel.close()
    session.disconnect()


if __name__ == "__main__":
    main()
