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
            while data:
                code, written = channel.write(data)
                if code < 0:
                    raise SystemExit(f"writing: {code}")
                data = data[written:]
    channel.send_eof()
    # What was sent is in the file when the program there has ended, and not before.
    while not channel.is_eof():
        channel.read(_CHUNK)
    if channel.get_exit_status():
        raise SystemExit("cat has failed")
    channel.close()

    channel = session.channel_new()
    channel.open_session()
    channel.request_exec(f"cat {there}")
    with open(back, "wb") as target:
        while not channel.is_eof():
            size, data = channel.read(_CHUNK)
            if size < 0:
                raise SystemExit(f"reading: {size}")
            target.write(data[:size])
    channel.close()
    session.disconnect()


if __name__ == "__main__":
    main()
