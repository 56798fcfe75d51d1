"""spasshd run: the daemon, in the foreground."""

from argparse import Namespace

from .. import config, events
from ..daemon import DaemonError
from ..daemon import run as run_daemon
from ..libpcap import CaptureError
from ..listener import GranterGoneError
from ..privsep.message import MessageError
from ..privsep.sandbox import SandboxError


def run(options: Namespace) -> int:
    """Run until SIGTERM or SIGINT, or until the file of packets is read."""
    try:
        for_good = run_daemon(config.load(options.config), options.pcap)
    except (CaptureError, DaemonError, SandboxError) as error:
        events.error(error, error.hint)
        return 1
    except MessageError as error:
        events.error(f"the granter broke the rules: {error}")
        return 1
    except GranterGoneError:
        events.error("the granter has left, so the listener leaves too")
        return 1
    return 4 if for_good else 0  # EXIT_STOPPED of cli
