"""Run as `python flush.py CONFIG` on the server: take every live grant back."""

import sys

from spassh_server import config
from spassh_server.clock import wall_clock
from spassh_server.firewall.select import choose

settings = config.load(sys.argv[1])
firewall, _ = choose(settings.backend, settings.firewall, wall_clock)
for active in firewall.grants():
    firewall.revoke(active.grant)
