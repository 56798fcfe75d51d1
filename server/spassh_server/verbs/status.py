"""spasshd status: the daemon's counters, and the live grants as the kernel has them."""

import json
from argparse import Namespace
from typing import Any

from .. import config, control, events
from ..addresses import text
from ..clock import wall_clock
from ..config import Config
from ..firewall import FirewallError
from ..firewall.select import choose


def run(options: Namespace) -> int:
    """Print the state; exit 3 if the daemon is not running."""
    settings = config.load(options.config)
    state = _state(settings)
    if options.json:
        print(json.dumps(state))
    else:
        _print(state)
    return 0 if state["running"] else 3


def _state(settings: Config) -> dict[str, Any]:
    state: dict[str, Any] = {"running": True}
    try:
        state |= control.ask(settings.run_dir, control.STATUS)
    except control.NotRunningError:
        state["running"] = False
    state["protect"] = [str(port) for port in settings.protect]
    try:
        firewall, _ = choose(settings.backend, settings.firewall, wall_clock)
        state["backend"] = firewall.name
        state["in_place"] = firewall.in_place()
        state["grants"] = [
            {
                "address": text(active.grant.address),
                "port": str(active.grant.port),
                "seconds_left": active.seconds_left,
            }
            for active in firewall.grants()
        ]
    except FirewallError as error:
        events.error(error, error.hint)
        state["in_place"] = None
        state["grants"] = []
    return state


def _print(state: dict[str, Any]) -> None:
    lines = []
    if state["running"]:
        ready = "ready" if state["ready"] else "starting"
        lines.append(f"spasshd is {ready}, pid {state['pid']}")
        lines.append(f"users: {state['users']}")
        counters = state["counters"]
        counted = ", ".join(f"{name} {counters[name]}" for name in sorted(counters))
        lines.append(f"packets: {counted or 'none'}")
        lines.append(f"dropped by the capture: {state['capture_drops']}")
        if state["store_problem"]:
            lines.append(f"problem: {state['store_problem']}")
    else:
        lines.append("spasshd is not running")
    lines.append(f"firewall: {state.get('backend', 'none')}")
    in_place = {True: "", False: " (not in place)", None: " (unknown)"}
    protected = ", ".join(state["protect"]) or "nothing"
    lines.append(f"protected: {protected}{in_place[state['in_place']]}")
    lines.append(f"live grants: {len(state['grants'])}")
    lines += [
        f"  {one['address']} may reach {one['port']} for {one['seconds_left']} s"
        for one in state["grants"]
    ]
    print("\n".join(lines))
