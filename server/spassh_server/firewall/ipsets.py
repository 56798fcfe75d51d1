"""Grants as elements of sets of ipset, which forget them in time."""

from contextlib import suppress

from . import ActiveGrant, FirewallError, Grant, Settings
from .ipset_element import Elements
from .ipset_render import (
    accepting,
    flow_set,
    has_flows,
    is_set_name,
    leading,
    noting,
    parse_save,
    passing,
    render_element,
    render_forget,
    render_options,
    render_sets,
    set_names,
    widths_of,
)
from .iptables_hooks import Hook, forward_hook, input_hook, lead_hook, note_hook
from .run import ProgramError, find, run


class IpSets:
    """The sets whose names begin with that of the settings."""

    expires_by_itself = True

    def __init__(self, settings: Settings, versions: tuple[int, ...]) -> None:
        self._settings = settings
        self._versions = versions
        self.widths = widths_of(settings)
        self._elements = Elements()

    def prepare(self) -> None:
        """Create the sets that are not there."""
        text = render_sets(self._settings, self._versions)
        run("ipset", "-exist", "restore", stdin=text.encode())

    def tidy(self) -> None:
        """Destroy the sets that no rule of ours uses any more.

        If a rule of somebody else does, they stay: that is no reason not to start.
        """
        wanted = self._wanted()
        for name in self._present():
            if name not in wanted:
                with suppress(ProgramError):
                    run("ipset", "destroy", name)

    def fixed(self, version: int) -> dict[Hook, list[str]]:
        """Return the rules that look into the sets, for each chain that has some."""
        settings = self._settings
        return {
            input_hook(settings): accepting(settings, version),
            forward_hook(settings): passing(settings, version),
            note_hook(settings): noting(settings, version),
            lead_hook(settings): leading(settings, version),
        }

    def kept(self, version: int, hook: Hook) -> list[str]:  # noqa: ARG002 - see TimedRules
        """Return the rules that are grants: none, for elements of sets are."""
        return []

    def grant(self, grant: Grant, seconds: int, user: str) -> None:
        """Let `grant` through for `seconds`, or longer if it already is."""
        element = render_element(self._settings.name, grant)
        if self._elements.add(*element, seconds, user):
            return
        options = render_options(seconds, user)
        try:
            run("ipset", "add", *element, *options)
        except ProgramError:
            left, by = 0, ""
            for active in self._read(element[0]):
                if active.grant == grant:
                    _, left, by = active
            # The kernel rounds down what is left, but less than a second up to one.
            if left > 1 and left >= seconds and by == user:
                return
            options = render_options(max(seconds, left + 1), user)
            run("ipset", "-exist", "add", *element, *options)

    def revoke(self, grant: Grant) -> None:
        """Take a grant back."""
        name = self._settings.name
        run("ipset", "-exist", "del", *render_element(name, grant))
        # Its last packet may be repeated for a while, but not after this.
        if has_flows(self._settings, grant):
            flows = run("ipset", "save", flow_set(name, grant)).decode()
            text = render_forget(flows, frozenset({grant.address}))
            if text:
                run("ipset", "-exist", "restore", stdin=text.encode())

    def grants(self) -> list[ActiveGrant]:
        """List the live grants."""
        wanted = self._wanted()
        return [
            active
            for name in self._present()
            if name in wanted
            for active in self._read(name)
        ]

    def forget_begun(self, addresses: frozenset[bytes]) -> None:
        """Delete the flows that used-up grants have begun, which may begin again."""
        text = ""
        for name in self._present():
            if name in self._wanted():
                saved = run("ipset", "save", name).decode()
                text += render_forget(saved, addresses)
        if text:
            run("ipset", "-exist", "restore", stdin=text.encode())

    def sweep(self) -> float | None:
        """Do nothing: the kernel deletes what has expired."""

    def remove(self) -> None:
        """Destroy the sets. No rule may use them any more."""
        for name in self._present():
            run("ipset", "destroy", name)

    def _wanted(self) -> set[str]:
        return {
            name
            for version in self._versions
            for name in set_names(self._settings, version)
        }

    def _present(self) -> list[str]:
        """Return which of our sets exist."""
        names = run("ipset", "list", "-name").decode().split()
        return [name for name in names if is_set_name(self._settings.name, name)]

    def _read(self, name: str) -> list[ActiveGrant]:
        return parse_save(run("ipset", "save", name).decode())


def is_usable() -> bool:
    """Tell whether ipset is installed and this kernel has sets."""
    if find("ipset") is None:
        return False
    try:
        run("ipset", "list", "-name")
    except FirewallError:
        return False
    return True
