"""A host with an ipfw that is played with: the stand-in, or a real one."""

from collections.abc import Callable

from firewall.backends import DNS, KNOCK_PORT, MARK, SSH, to
from firewall.fakes.ipfw import Engine, Packet, state_of
from firewall.network import CLIENT, LOOPBACK, SERVER, STRANGER

from spassh_server.firewall import Clock, Firewall, Grant, Settings, Width, run
from spassh_server.firewall.ipfw import Ipfw
from spassh_server.ports import Port

NOW = 1_800_000_000.5
RULE = 40000
CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
EVERYBODY = CLIENTS + STRANGERS

SETTINGS = Settings(
    "spassh-t",
    (SSH, DNS),
    KNOCK_PORT,
    MARK,
    grant_ports=(SSH, DNS, Port(6, 443)),
    ipfw_rule=RULE,
)

Design = Callable[[Settings, Clock], Firewall]


def flow(address: str, source_port: int, port: Port = SSH) -> Grant:
    return to(address, port)._replace(width=Width.FLOW, source_port=source_port)


class Host:
    """A host with a program ipfw, a clock to set, and packets that come to it."""

    def __init__(self, program: str, design: Design = Ipfw) -> None:
        self.now = NOW
        self.design = design
        self.program = program
        self.run: Callable[..., bytes] = run.run
        self._ports = iter(range(20000, 60000))

    def make(self, settings: Settings = SETTINGS) -> Firewall:
        settings = settings._replace(programs=(self.program, "/nonexistent"))
        return self.design(settings, lambda: self.now)

    def tell(self, line: str) -> str:
        """Do what somebody else does."""
        return self.run(self.program, *line.split()).decode()

    def everything(self) -> str:
        """Return all rules and tables but what there always is."""
        lines = self.tell("-S list").splitlines()
        return "\n".join([*lines[:-1], *self.tables()])

    def tables(self) -> list[str]:
        names = ("spassh-t-address", "spassh-t-flow", "spassh-t-older")
        found = []
        for name in names:
            try:
                found.append(self.tell(f"table {name} list"))
            except run.ProgramError as error:
                if error.status != 71 and not self.engine.kind:
                    raise
        return found

    @property
    def engine(self) -> Engine:
        return Engine(state_of(self.program))

    def judge(self, packet: Packet) -> bool:
        return self.engine.judge(packet)

    def packet(self, source: str, port: Port = SSH, source_port: int = 0) -> Packet:
        """Return the first packet of a connection, or the only one."""
        destination = SERVER[6 if ":" in source else 4]
        if source in LOOPBACK:
            destination = source
        number = source_port or next(self._ports)
        return Packet(source, number, destination, port.number, port.protocol_name)

    def is_open(self, *sources: str, port: Port = SSH, source_port: int = 0) -> bool:
        """Tell whether all of `sources` can connect; they must agree."""
        answers = {self.judge(self.packet(s, port, source_port)) for s in sources}
        assert len(answers) == 1
        return answers == {True}

    def session(self, source: str, port: Port = SSH, source_port: int = 0) -> Packet:
        """Open a connection; return a packet of it."""
        packet = self.packet(source, port, source_port)
        assert self.judge(packet)
        assert self.judge(packet.answer("SA"))
        return packet._replace(flags="A")

    def lives(self, session: Packet) -> bool:
        return self.judge(session) and self.judge(session.answer("A"))
