"""A stand-in for FreeBSD's ipfw(8): its commands, texts and exit codes, and a judge.

As a program it keeps rules, tables and states in a file beside itself, and does to them
what the real one was seen to do on Linux (FreeBSD's program and engine of October 2014
in user space), and for names of states what its later source says. It knows as much of
the language as the tests need, and refuses the rest.

As a module, `Engine.judge` says what the rules do to a packet.

Two older ones are known, by `Engine.become`. What sets them apart was read, and never
run: Apple's `ipfw2.c` and `ip_fw2.c` of network_cmds and xnu, the last that had them.

* OLD has no tables of flows and no names of states. What stands after `check-state`, a
  comment or a name, is taken and forgotten; `keep-state :name` is an error. A rule is
  deleted by its number alone, in all sets: there is no `set N delete`. That FreeBSD
  before 12 differs from Apple's in nothing else but IPv6 is a guess.
* APPLE has no IPv6 as well: it takes `ip6` for an option that is not known, an IPv6
  address for one of IPv4 with a mask, and its engine does not see such packets.

Not here: Apple forgets no state of a TCP connection that both sides did not close.
"""

# ruff: noqa: T201 - it is a program, and what it prints is what it is for

import json
import os
import sys
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

USAGE, DATA, NO_HOST, UNAVAILABLE, OS = 64, 65, 68, 69, 71
DEFAULT_RULE = 65535
MAX_COMMENT = 80
MY_ADDRESSES = {"192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"}

_ACTIONS = {
    "allow": "allow",
    "accept": "allow",
    "pass": "allow",
    "permit": "allow",
    "deny": "deny",
    "drop": "deny",
    "count": "count",
}
OLD, APPLE = "old", "apple"

_PROTOCOLS = {"tcp": 6, "udp": 17}
_FIELDS = ("src-ip", "proto", "src-port", "dst-ip", "dst-port")
_FLAGS = ("in", "out", "setup", "established")


class RefusedError(Exception):
    """What errx(3) does: an exit code, and a line on stderr."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Packet(NamedTuple):
    """A packet as the rules see it."""

    source: str
    source_port: int
    destination: str
    port: int
    protocol: str = "tcp"
    flags: str = "S"
    """Of TCP: letters of S, A, R, F."""
    incoming: bool = True

    def answer(self, flags: str = "A") -> "Packet":
        """Return a packet of the same flow, the other way round."""
        return Packet(
            self.destination,
            self.port,
            self.source,
            self.source_port,
            self.protocol,
            flags,
            not self.incoming,
        )


class Body:
    """What a rule says after its number and set: parsed, and printed as ipfw does."""

    def __init__(self, words: list[str], kind: str = "") -> None:
        self._kind = kind
        if kind and words[:1] == ["check-state"]:
            words = words[:1]
        words, self.comment = _split_comment(words)
        self._words = words
        self.action = self.argument = self.state = ""
        self.source = self.destination = "any"
        self.source_port = self.port = 0
        self.protocol = "ip"
        self.flags: set[str] = set()
        self.tables: list[str] = []
        self.limit = 0
        self._action()
        if self.action != "check-state":
            self._addresses()
            self._options()
        self.text = " ".join(self._printed())

    @property
    def keeps_state(self) -> bool:
        return bool(self.state) and self.action != "check-state"

    def _next(self, what: str) -> str:
        if not self._words:
            raise RefusedError(USAGE, f"missing {what}")
        return self._words.pop(0)

    def _action(self) -> None:
        word = self._next("action")
        if word == "skipto":
            self.action, self.argument = word, self._next("skipto number")
        elif word == "check-state":
            self.action, self.state = word, self._name()
            if self._words:
                raise RefusedError(USAGE, f"unrecognised option {self._words[0]}")
        elif word in _ACTIONS:
            self.action = _ACTIONS[word]
        else:
            raise RefusedError(DATA, f"invalid action {word}")

    def _name(self) -> str:
        if not self._kind and self._words and self._words[0].startswith(":"):
            return self._words.pop(0)
        return ":default"

    def _addresses(self) -> None:
        self.protocol = self._next("protocol")
        if self.protocol == "ip6" and self._kind == APPLE:
            raise RefusedError(USAGE, "unrecognised option [-1] ip6")
        if self.protocol not in {"ip", "ip6", "all", "tcp", "udp"}:
            raise RefusedError(DATA, f"invalid protocol {self.protocol}")
        if self._next("from") != "from":
            raise RefusedError(USAGE, "missing ``from''")
        self.source, self.source_port = self._end()
        if self._next("to") != "to":
            raise RefusedError(USAGE, "missing ``to''")
        self.destination, self.port = self._end()

    def _end(self) -> tuple[str, int]:
        address = self._next("address")
        if self._kind == APPLE and (":" in address or address == "me6"):
            # It would ask DNS for the part before the colon.
            raise RefusedError(NO_HOST, f"hostname ``{address}'' unknown")
        if address not in {"any", "me", "me6"}:
            try:
                network = ip_network(address)
            except ValueError as error:
                text = f"hostname ``{address}'' unknown"
                raise RefusedError(NO_HOST, text) from error
            is_host = network.prefixlen == network.max_prefixlen
            address = str(network.network_address) if is_host else str(network)
        port = 0
        if self._words and self._words[0].isdecimal():
            port = int(self._words.pop(0))
        return address, port

    def _options(self) -> None:
        while self._words:
            word = self._words.pop(0)
            if word in _FLAGS:
                self.flags.add(word)
            elif word == "dst-port":
                self.port = int(self._next("port"))
            elif word == "src-port":
                self.source_port = int(self._next("port"))
            elif word == "keep-state":
                self.state = self._name()
            elif word == "limit" and self._next("mask") == "src-addr":
                self.limit, self.state = int(self._next("number")), ":default"
            elif word == "flow" and not self._kind:
                table = self._next("table name")
                if not (table.startswith("table(") and table.endswith(")")):
                    raise RefusedError(USAGE, f"invalid table name {table}")
                self.tables.append(table[6:-1])
            else:
                raise RefusedError(USAGE, f"unrecognised option {word}")

    def _printed(self) -> list[str]:
        name = [] if self.state == ":default" else [self.state]
        if self.action == "check-state":
            words = [self.action, *name]
        else:
            words = [self.action, *([self.argument] if self.argument else [])]
            words += [self.protocol.replace("all", "ip"), "from", self.source]
            words += [str(self.source_port)] * bool(self.source_port)
            words += ["to", self.destination]
            words += ["dst-port", str(self.port)] if self.port else []
            words += [word for table in self.tables for word in _flow(table)]
            words += [flag for flag in _FLAGS if flag in self.flags]
            if self.limit:
                words += ["limit", "src-addr", str(self.limit)]
            elif self.state:
                words += ["keep-state", *name]
        return words + (["//", self.comment] if self.comment else [])


def _flow(table: str) -> list[str]:
    return ["flow", f"table({table})"]


def _split_comment(words: list[str]) -> tuple[list[str], str]:
    if "//" not in words:
        return list(words), ""
    at = words.index("//")
    comment = " ".join(words[at + 1 :])
    if not comment:
        raise RefusedError(USAGE, "need comment text")
    if len(comment) > MAX_COMMENT:
        raise RefusedError(DATA, "comment too long (max 80 chars)")
    return words[:at], comment


class Engine:
    """The rules, tables, sets and states, in a file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._data: dict[str, Any] = {
            "rules": [],
            "tables": {},
            "disabled": [],
            "states": [],
            "serial": 0,
            "kind": "",
        }
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self._data = json.load(file)

    def save(self) -> None:
        with open(self._path, "w", encoding="utf-8") as file:
            json.dump(self._data, file)

    @property
    def kind(self) -> str:
        return str(self._data["kind"])

    def become(self, kind: str) -> None:
        """Be an older one: OLD or APPLE."""
        self._data["kind"] = kind
        self.save()

    @property
    def rules(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._data["rules"]
        return found

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self._data["tables"]
        return found

    def is_disabled(self, rule: dict[str, Any]) -> bool:
        return rule["set"] in self._data["disabled"]

    def add(self, number: int, one_set: int, text: str) -> None:
        self._data["serial"] += 1
        self.rules.append(
            {
                "number": number,
                "set": one_set,
                "text": text,
                "id": self._data["serial"],
            }
        )
        self.rules.sort(key=lambda rule: rule["number"])  # stable: order of entry

    def delete(self, gone: list[dict[str, Any]]) -> None:
        ids = {rule["id"] for rule in gone}
        self._data["rules"] = [r for r in self.rules if r["id"] not in ids]
        # The states of a rule die with it.
        self._data["states"] = [s for s in self._data["states"] if s[0] not in ids]

    def enable(self, one_set: int, *, on: bool) -> None:
        others = [one for one in self._data["disabled"] if one != one_set]
        # Set 31 cannot be disabled, and ipfw does not say so.
        self._data["disabled"] = others + ([] if on or one_set == 31 else [one_set])

    def judge(self, packet: Packet) -> bool:
        """Tell whether the rules let `packet` through, and keep what state they make.

        A state is looked up at the first rule with check-state or keep-state of its
        name that the packet meets; rules of disabled sets are not met.
        """
        if self.kind == APPLE and ":" in packet.source:
            return True
        start = 0
        for rule in self.rules:
            if self.is_disabled(rule) or rule["number"] < start:
                continue
            body = Body(rule["text"].split(), self.kind)
            if body.state and self._has_state(packet, body.state):
                return True
            if body.action == "check-state" or not self._matches(body, packet):
                continue
            if body.keeps_state and not self._keep(rule["id"], body, packet):
                continue
            if body.action == "skipto":
                start = int(body.argument)
            elif body.action != "count":
                return body.action == "allow"
        return True

    def _has_state(self, packet: Packet, name: str) -> bool:
        flows = [_flow_of(packet), _flow_of(packet.answer())]
        return any(s[1] == name and s[2:] in flows for s in self._data["states"])

    def _keep(self, rule: int, body: Body, packet: Packet) -> bool:
        mine = [s for s in self._data["states"] if s[0] == rule]
        same = [s for s in mine if s[3] == packet.source]
        if body.limit and len(same) >= body.limit:
            return False
        self._data["states"].append([rule, body.state, *_flow_of(packet)])
        self.save()
        return True

    def _matches(self, body: Body, packet: Packet) -> bool:
        direction = {"in"} if packet.incoming else {"out"}
        is_setup = packet.protocol == "tcp" and "S" in packet.flags
        is_setup = is_setup and "A" not in packet.flags
        is_established = packet.protocol == "tcp" and set(packet.flags) & set("AR")
        return (
            body.protocol in {"ip", "all", packet.protocol}
            and _is_in(packet.source, body.source)
            and _is_in(packet.destination, body.destination)
            and body.source_port in {0, packet.source_port}
            and body.port in {0, packet.port}
            and body.flags & {"in", "out"} <= direction
            and (is_setup or "setup" not in body.flags)
            and (bool(is_established) or "established" not in body.flags)
            and all(self._is_listed(table, packet) for table in body.tables)
        )

    def _is_listed(self, table: str, packet: Packet) -> bool:
        fields = self.tables[table]["type"].removeprefix("flow:").split(",")
        values = {
            "src-ip": str(ip_address(packet.source)),
            "proto": str(_PROTOCOLS[packet.protocol]),
            "src-port": str(packet.source_port),
            "dst-ip": str(ip_address(packet.destination)),
            "dst-port": str(packet.port),
        }
        key = ",".join(values[field] for field in fields)
        return key in self.tables[table]["entries"]


def _flow_of(packet: Packet) -> list[Any]:
    return [
        packet.protocol,
        packet.source,
        packet.source_port,
        packet.destination,
        packet.port,
    ]


def _is_in(address: str, where: str) -> bool:
    if where == "any":
        return True
    if where in {"me", "me6"}:
        return address in MY_ADDRESSES and (where == "me" or ":" in address)
    return ip_address(address) in ip_network(where)


class Program:
    """One run of the program."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._options: set[str] = set()
        self._set: int | None = None
        self.status = 0

    def run(self, words: list[str]) -> None:
        """Take one command, with its options."""
        self._options, self._set = set(), None
        while words and words[0].startswith("-"):
            self._options |= set(words.pop(0)[1:])
        if not words:
            raise RefusedError(USAGE, "bad arguments, for usage summary ``ipfw''")
        if words[-1].startswith("/") and not words[-1].startswith("//"):
            self._read_file(words[-1])
            return
        kind = self._engine.kind
        if words[0] == "set" and len(words) > 2 and words[1].isdecimal():
            if kind:
                raise RefusedError(USAGE, f"invalid set command {words[1]}")
            self._set = int(words[1])
            words = words[2:]
        command, *rest = words
        handlers = {
            "add": self._add,
            "delete": self._delete,
            "list": self._list,
            "set": self._sets,
            "table": self._table,
        }
        if command not in handlers or (kind and command == "table"):
            raise RefusedError(USAGE, f"bad command `{command}'")
        handlers[command](rest)
        if "n" not in self._options and "list" not in words:
            self._engine.save()

    def _say(self, line: str) -> None:
        if "q" not in self._options:
            print(line)

    def _read_file(self, path: str) -> None:
        options = "".join(self._options)
        with open(path, encoding="utf-8") as file:
            for line in file:
                words = line.partition("#")[0].split()
                if words:
                    self.run([*([f"-{options}"] if options else []), *words])

    def _add(self, words: list[str]) -> None:
        number = int(words.pop(0)) if words and words[0].isdecimal() else 0
        one_set = 0
        if words and words[0] == "set":
            one_set = int(words[1])
            words = words[2:]
            if one_set > 31:
                raise RefusedError(DATA, f"illegal set {one_set}")
        body = Body(words, self._engine.kind)
        if "n" in self._options:
            print(f"{number:05} {body.text}")
            return
        if number > 65534:
            text = "getsockopt(IP_FW_XADD): Invalid argument"
            raise RefusedError(UNAVAILABLE, text)
        if number == 0:
            highest = max((r["number"] for r in self._engine.rules), default=0)
            number = min(highest + 100, 65534)
        for table in body.tables:
            self._engine.tables.setdefault(table, {"type": "flow", "entries": {}})
        self._engine.add(number, one_set, body.text)
        self._say(f"{number:05} {body.text}")

    def _delete(self, words: list[str]) -> None:
        if words[:1] == ["set"]:
            gone = [r for r in self._engine.rules if r["set"] == int(words[1])]
            self._engine.delete(gone)
            if not gone:
                raise RefusedError(UNAVAILABLE, "rule 0 not found")
            return
        for word in words:
            gone = [
                rule
                for rule in self._engine.rules
                if rule["number"] == int(word) and self._set in {None, rule["set"]}
            ]
            self._engine.delete(gone)
            if not gone:
                missing = f"rule {word} not found"
                if self._engine.kind:
                    missing = f"rule {word}: setsockopt(IP_FW_DEL): Invalid argument"
                print(f"ipfw: {missing}", file=sys.stderr)
                self.status = UNAVAILABLE

    def _list(self, words: list[str]) -> None:
        if words[:1] == ["set"]:
            raise RefusedError(USAGE, f"bad arguments `{words[0]}'")
        shown = [
            rule
            for rule in self._engine.rules
            if self._set in {None, rule["set"]}
            and (not words or str(rule["number"]) in words)
        ]
        for word in words:
            if word not in {str(rule["number"]) for rule in shown}:
                raise RefusedError(UNAVAILABLE, f"rule {word} does not exist")
        with_set = "S" in self._options
        for rule in shown:
            disabled = self._engine.is_disabled(rule)
            if disabled and not with_set:
                continue
            middle = f" set {rule['set']}" if with_set else ""
            line = f"{rule['number']:05}{middle} {rule['text']}"
            print("# DISABLED " * disabled + line)
        if not words and self._set is None:
            middle = " set 31" if with_set else ""
            print(f"{DEFAULT_RULE}{middle} allow ip from any to any")

    def _sets(self, words: list[str]) -> None:
        match words:
            case ["enable" | "disable" as verb, *numbers] if numbers:
                for number in numbers:
                    self._engine.enable(int(number), on=verb == "enable")
            case ["swap", one, other]:
                self._move({int(one): int(other), int(other): int(one)})
            case ["move", "rule", number, "to", other]:
                for rule in self._engine.rules:
                    if rule["number"] == int(number):
                        rule["set"] = int(other)
            case ["move", one, "to", other]:
                self._move({int(one): int(other)})
            case _:
                raise RefusedError(USAGE, "invalid set command")

    def _move(self, places: dict[int, int]) -> None:
        for rule in self._engine.rules:
            rule["set"] = places.get(rule["set"], rule["set"])

    def _table(self, words: list[str]) -> None:
        if len(words) < 2:
            raise RefusedError(USAGE, "table needs command")
        name, verb, *rest = words
        match verb, rest:
            case "create", _:
                self._create(name, rest)
            case "add", [_, *_]:
                self._add_entries(name, rest, atomic=False)
            case "atomic", ["add", _, *_]:
                self._add_entries(name, rest[1:], atomic=True)
            case "delete", [_, *_]:
                self._delete_entry(name, rest)
            case "list", []:
                self._list_table(name)
            case "flush" | "destroy", []:
                self._empty(name, destroy=verb == "destroy")
            case _:
                raise RefusedError(USAGE, f"invalid table command {verb}")

    def _list_table(self, name: str) -> None:
        if name not in self._engine.tables:
            raise RefusedError(OS, "failed to request table info: No such process")
        print(f"--- table({name}), set(0) ---")
        for key, value in self._engine.tables[name]["entries"].items():
            print(key, value)

    def _empty(self, name: str, *, destroy: bool) -> None:
        if name not in self._engine.tables:
            return  # a warning, if not quiet
        if not destroy:
            self._engine.tables[name]["entries"].clear()
            return
        if any(name in Body(r["text"].split()).tables for r in self._engine.rules):
            text = f"failed to destroy table {name}: Device or resource busy"
            raise RefusedError(OS, text)
        del self._engine.tables[name]

    def _create(self, name: str, words: list[str]) -> None:
        kind = "addr"
        match words:
            case []:
                pass
            case ["type", kind] if kind == "addr":
                pass
            case ["type", kind] if kind.startswith("flow:"):
                for field in kind.removeprefix("flow:").split(","):
                    if field not in _FIELDS:
                        text = f"unable to parse flow option {field}"
                        raise RefusedError(USAGE, text)
            case _:
                raise RefusedError(USAGE, f"Unknown tabletype: {' '.join(words)}")
        if "n" in self._options:
            return
        if name in self._engine.tables:
            raise RefusedError(OS, "Table creation failed: File exists")
        self._engine.tables[name] = {"type": kind, "entries": {}}

    def _add_entries(self, name: str, words: list[str], *, atomic: bool) -> None:
        if name not in self._engine.tables:
            self._auto_create(name, words[0])
        table = self._engine.tables[name]
        before = dict(table["entries"])
        report, existed = [], False
        for at in range(0, len(words), 2):
            key = _key(words[at], table["type"])
            value = _value(words[at + 1]) if at + 1 < len(words) else 0
            if key in table["entries"] and "q" not in self._options:
                existed = True
                report.append(f"exists: {key} {table['entries'][key]}")
                continue
            verb = "updated" if key in table["entries"] else "added"
            table["entries"][key] = value
            report.append(f"{verb}: {key} {value}")
        if existed and atomic:
            table["entries"] = before
            report = [line.replace("added:", "added(reverted):") for line in report]
        for line in report:
            self._say(line)
        if existed:
            self._engine.save()
            text = "Adding record failed: record already exists"
            raise RefusedError(OS, text)

    def _auto_create(self, name: str, key: str) -> None:
        if "," in key and "." in key:
            text = f"Table {name} does not exist, cannot guess key '{key}' type"
            raise RefusedError(USAGE, text)
        if "q" not in self._options:
            text = f"DEPRECATED: inserting data into non-existent table {name}."
            print(f"ipfw: {text} (auto-created)", file=sys.stderr)
        kind = "iface" if "," in key else "addr"
        self._engine.tables[name] = {"type": kind, "entries": {}}

    def _delete_entry(self, name: str, words: list[str]) -> None:
        if name not in self._engine.tables:
            raise RefusedError(DATA, f"Table {name} does not exist")
        table = self._engine.tables[name]
        for word in words:
            key = _key(word, table["type"])
            if key not in table["entries"]:
                self._say(f"notfound: {key} 0")
                raise RefusedError(OS, "Deleting record failed: record not found")
            self._say(f"deleted: {key} {table['entries'].pop(key)}")


def _key(text: str, kind: str) -> str:
    """Return the key as a table shows it."""
    if not kind.startswith("flow:"):
        return text if "/" in text or kind == "iface" else f"{text}/{_width(text)}"
    words, fields = text.split(","), kind.removeprefix("flow:").split(",")
    shown = []
    for field, word in zip(fields, [*words, *[""] * len(fields)], strict=False):
        if not word:
            raise RefusedError(DATA, f"invalid key: {field} missing")
        if field.endswith("-ip"):
            shown.append(str(ip_address(word)))
        elif field == "proto":
            shown.append(str(_PROTOCOLS.get(word, word)))
        else:
            shown.append(str(int(word)))
    return ",".join(shown)


def _width(text: str) -> int:
    return ip_address(text).max_prefixlen


def _value(text: str) -> int:
    if text.isdecimal():
        return int(text) % 2**32  # in silence
    try:
        return int(ip_address(text))
    except ValueError as error:
        raise RefusedError(OS, f"Unable to parse value {text}") from error


def main(argv: list[str], _stdin: str = "/dev/stdin") -> int:
    """Run the program; return its exit code."""
    program = Program(Engine(state_of(argv[0])))
    try:
        program.run(argv[1:])
    except RefusedError as error:
        print(f"ipfw: {error}", file=sys.stderr)
        return error.status
    return program.status


def state_of(program: str) -> str:
    """Return where the program of that path keeps its state."""
    return os.path.abspath(program) + ".state"
