"""spasshd status: the daemon's counters, and the live grants as the kernel has them."""

import json
from argparse import Namespace
from typing import Any

from .. import config, control, events
from ..addresses import text
from ..answer import daemon_state
from ..clock import booted_ms, monotonic_ms, wall_clock
from ..config import Config
from ..events import printable
from ..firewall import FirewallError
from ..firewall.select import choose
from ..toml import ConfigError
from ..trial import Trial, on_trial, read_trial, settings_of


def run(options: Namespace) -> int:
    """Print the state; exit 3 if the daemon is not running."""
    settings = config.load(options.config)
    state = state_of(settings)
    if options.json:
        print(json.dumps(state))
    else:
        _print(state)
    return 0 if state["running"] else 3


def state_of(settings: Config) -> dict[str, Any]:
    """Return what the daemon and the kernel know, ready for JSON."""
    state: dict[str, Any] = {"running": False}
    try:
        state = {"running": True} | daemon_state(settings)
    except control.NoAnswerError:
        events.error("the answer of spasshd makes no sense", "restart spasshd")
    except control.NotRunningError:
        pass
    state["protect"] = [str(port) for port in settings.protect]
    state["trial"] = None
    trial = _trial(settings)
    if trial is not None:
        state["trial"] = {
            "ports": [str(port) for port in on_trial(settings, trial)],
            "seconds_left": (trial.ends - monotonic_ms()) // 1000,
        }
    # What is known is told, even if the packet filter does not say the rest.
    state |= {"in_place": None, "grants": [], "warnings": []}
    try:
        firewall, _ = choose(settings.backend, settings.firewall, wall_clock)
        if trial is not None:
            wanted = settings_of(settings, trial, holds=firewall.holds)
            firewall, _ = choose(firewall.name, wanted, wall_clock)
        state["backend"] = firewall.name
        state["grants"] = [
            {
                "user": active.user,
                "address": text(active.grant.address),
                "port": str(active.grant.port),
                "width": active.grant.width.label,
                "source_port": active.grant.source_port,
                "seconds_left": active.seconds_left,
            }
            for active in firewall.grants()
        ]
        state["warnings"] = firewall.warnings()
        state["in_place"] = firewall.in_place()
    except FirewallError as error:
        events.error(error, error.hint)
    if state["running"] and state["protect"] and not state["users"]:
        nobody = "there are no users, so nobody is let in: see 'spasshd check'"
        state["warnings"] = [*state["warnings"], nobody]
    return state


def _trial(settings: Config) -> Trial | None:
    try:
        trial = read_trial(settings, booted_ms(), monotonic_ms())
    except ConfigError as error:
        events.error(error, error.hint)
        return None
    return trial if on_trial(settings, trial) else None


def _print(state: dict[str, Any]) -> None:
    lines = []
    if state["running"]:
        ready = "ready" if state["ready"] else "starting"
        lines.append(f"spasshd is {ready}, pid {state['pid']}")
        lines.append(f"users: {state['users']}")
        lines.append(f"widths: {', '.join(state['widths']) or 'none'}")
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
    if state["trial"]:
        ports, left = ", ".join(state["trial"]["ports"]), state["trial"]["seconds_left"]
        lines.append(f"on trial: {ports} for {left} s")
    lines.append(f"live grants: {len(state['grants'])}")
    lines += [_describe(one) for one in state["grants"]]
    lines += [f"warning: {one}" for one in state["warnings"]]
    # The listener may have been taken over: what it says moves no cursor.
    print("\n".join(map(printable, lines)))


def _describe(grant: dict[str, Any]) -> str:
    whose = f" ({grant['user']})" if grant["user"] else ""
    how = {
        "flow": f" from port {grant['source_port']}",
        "once": " once",
        "address": "",
    }[grant["width"]]
    return (
        f"  {grant['address']}{whose} may reach {grant['port']}{how}"
        f" for {grant['seconds_left']} s"
    )
