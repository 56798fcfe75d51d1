"""A stand-in for FreeBSD's pfctl(8): what the pf back end needs of it, and a judge.

As a program it keeps rulesets, tables and states in a file beside itself. Canonical
forms, defaults and texts are those that FreeBSD's pfctl printed on Linux, where it had
no kernel; what the kernel adds is from its manual and source. It refuses any line that
is not of the small language that is wanted.

As a module, `Pf.judge` says what the rules do to a packet.
"""

# ruff: noqa: T201 - it is a program, and what it prints is what it is for

import json
import os
import sys
from ipaddress import ip_address, ip_network
from typing import Any

try:
    from .ipfw import MY_ADDRESSES, Packet
except ImportError:  # installed as a program
    from ipfw import MY_ADDRESSES, Packet  # type: ignore[import-not-found,no-redef]

MAX_LABEL = 63
MAX_TABLE = 31
SERVICES = {22: "ssh", 53: "domain", 80: "http", 443: "https"}
NO_TABLE = "Table does not exist."
LETS_ALL_IN = "pass all flags S/SA keep state"
"""What `pass` in pf.conf becomes: the rule of hosts that let all in."""


class RefusedError(Exception):
    """An exit code, and a line on stderr."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class Pf:
    """What the kernel has, in a file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.data: dict[str, Any] = {
            "enabled": True,
            "main": ['anchor "spassh-t" all'],
            "anchors": {},
            "states": [],
        }
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.data = json.load(file)

    def save(self) -> None:
        with open(self._path, "w", encoding="utf-8") as file:
            json.dump(self.data, file)

    def anchor(self, name: str) -> dict[str, Any]:
        """Return the anchor of that name, new if need be."""
        empty: dict[str, Any] = {"rules": [], "tables": {}}
        found: dict[str, Any] = self.data["anchors"].setdefault(name, empty)
        return found

    def clean(self) -> None:
        """Forget the anchors without rules and tables, as the kernel does."""
        anchors = self.data["anchors"]
        self.data["anchors"] = {
            name: one for name, one in anchors.items() if one["rules"] or one["tables"]
        }

    def judge(self, packet: Packet) -> bool:
        """Tell whether `packet` passes, and keep what state it makes."""
        flows = [_flow_of(packet), _flow_of(packet.answer())]
        if any(state in flows for state in self.data["states"]):
            # A bare SYN is no part of a connection that is open.
            return packet.protocol != "tcp" or packet.flags != "S"
        keeps_state = False
        for line in self.data["main"]:
            words = line.split()
            if words[0] == "anchor":
                verdict = self._judge_in(words[1].strip('"'), packet)
                if verdict is not None:
                    return verdict
            elif words[:3] == ["block", "drop", "quick"]:
                return False
            elif line == LETS_ALL_IN:
                keeps_state = _begins(packet)
        # What no rule decides passes, and makes no state.
        if keeps_state:
            self._keep(packet)
        return True

    def _keep(self, packet: Packet) -> None:
        self.data["states"].append(_flow_of(packet))
        self.save()

    def _judge_in(self, name: str, packet: Packet) -> bool | None:
        anchor = self.data["anchors"].get(name, {"rules": [], "tables": {}})
        for text in anchor["rules"]:
            rule = Rule(text.split('"')[0].removesuffix("label ").split())
            if not rule.matches(packet, anchor["tables"]):
                continue
            if rule.keeps_state:
                self._keep(packet)
            return rule.action == "pass"
        return None


def _begins(packet: Packet) -> bool:
    """Tell whether a rule with `flags S/SA` is for it: UDP has no flags."""
    is_syn = "S" in packet.flags and "A" not in packet.flags
    return packet.protocol == "udp" or is_syn


def _flow_of(packet: Packet) -> list[Any]:
    return [
        packet.protocol,
        packet.source,
        packet.source_port,
        packet.destination,
        packet.port,
    ]


class Rule:
    """A rule, parsed from the words before its label. Canonical or not."""

    def __init__(self, words: list[str]) -> None:
        self._words = list(words)
        self.action = self._take("pass", "block")
        self.drop = self.action == "block" and (self._skip("drop") or True)
        self._take("in")
        self.quick = self._skip("quick")
        self._skip("inet") or self._skip("inet6")
        self.protocol = self._words.pop(1) if self._skip("proto", keep=True) else ""
        self._skip("proto")
        self._take("from")
        self.source = self._host()
        self.to_self, self.port = False, 0
        if self._skip("to"):
            self.to_self = self._take("(self)", "any") == "(self)"
            if self._skip("port"):
                self._skip("=")
                self.port = self._number()
        if self._skip("flags"):
            self._take("S/SA")
        kept = self._skip("keep") and bool(self._take("state"))
        self.keeps_state = kept or self.action == "pass"
        if self._words:
            raise ValueError(self._words[0])

    def _take(self, *choices: str) -> str:
        if not self._words or self._words[0] not in choices:
            raise ValueError(choices)
        return self._words.pop(0)

    def _skip(self, word: str, *, keep: bool = False) -> bool:
        if self._words[:1] != [word]:
            return False
        if not keep:
            del self._words[0]
        return True

    def _host(self) -> str:
        word = self._words.pop(0)
        if word != "any" and not (word.startswith("<") and word.endswith(">")):
            word = str(ip_address(word))
        return word

    def _number(self) -> int:
        word = self._words.pop(0)
        names = {name: number for number, name in SERVICES.items()}
        return names[word] if word in names else int(word)

    def text(self, label: str) -> str:
        """Return the rule as pfctl prints it, with the defaults."""
        words = [self.action, *(["drop"] if self.action == "block" else []), "in"]
        words += ["quick"] if self.quick else []
        if self.source[0] not in "<a":
            words.append("inet6" if ":" in self.source else "inet")
        words += ["proto", self.protocol] if self.protocol else []
        words += ["from", self.source, "to", "(self)" if self.to_self else "any"]
        if self.port:
            words += ["port", "=", SERVICES.get(self.port, str(self.port))]
        if self.action == "pass":
            words += ["flags", "S/SA"] if self.protocol == "tcp" else []
            words += ["keep", "state"]
        return " ".join(words) + (f' label "{label}"' if label else "")

    def matches(self, packet: Packet, tables: dict[str, list[str]]) -> bool:
        return (
            packet.incoming
            and self.protocol in {"", packet.protocol}
            and self.port in {0, packet.port}
            and (not self.to_self or packet.destination in MY_ADDRESSES)
            and self._is_from(packet.source, tables)
            and (self.action == "block" or _begins(packet))
        )

    def _is_from(self, source: str, tables: dict[str, list[str]]) -> bool:
        if self.source == "any":
            return True
        if not self.source.startswith("<"):
            return source == self.source
        entries = tables.get(self.source[1:-1], [])
        return any(ip_address(source) in ip_network(one) for one in entries)


class Program:
    """One run of the program."""

    def __init__(self, pf: Pf, stdin: str) -> None:
        self._pf = pf
        self._stdin = stdin
        self._options: dict[str, str] = {}

    def run(self, words: list[str]) -> None:
        words = self._parse(words)
        options = self._options
        if "T" in options:
            self._table(options["T"], words)
        elif "f" in options:
            self._load(options["f"])
        elif "F" in options:
            self._flush(options["F"])
        elif "s" in options:
            self._show(options["s"])
        else:
            raise RefusedError("usage: pfctl [-AdeghMmNnOPqRrvz] ...")
        self._pf.clean()
        if "n" not in options and "s" not in options:
            self._pf.save()

    def _parse(self, words: list[str]) -> list[str]:
        words = list(words)
        while words and words[0].startswith("-") and words[0] != "-":
            letters = words.pop(0)[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter in "qnv":
                    self._options[letter] = ""
                elif letter in "afFostT" and (letters or words):
                    self._options[letter] = letters or words.pop(0)
                    letters = ""
                else:
                    raise RefusedError(f"usage: pfctl: illegal option -- {letter}")
        return words

    def _note(self, text: str) -> None:
        if "q" not in self._options:
            print(text, file=sys.stderr)

    @property
    def _name(self) -> str:
        return self._options.get("a", "")

    def _show(self, what: str) -> None:
        if what == "info":
            status = "Enabled" if self._pf.data["enabled"] else "Disabled"
            print(f"Status: {status} for 0 days 00:00:00           Debug: Urgent")
        elif what == "rules" and not self._name:
            print("\n".join(self._pf.data["main"]))
        elif what == "rules" and self._name in self._pf.data["anchors"]:
            for rule in self._pf.anchor(self._name)["rules"]:
                print(rule)
        elif what == "rules":
            print("pfctl: DIOCGETRULES: Invalid argument", file=sys.stderr)
        elif what == "Tables":
            print("\n".join(self._pf.anchor(self._name)["tables"]))
        else:
            raise RefusedError(f"pfctl: Unknown show modifier '{what}'")

    def _flush(self, what: str) -> None:
        empty: dict[str, Any] = {"rules": [], "Tables": {}}
        if what not in empty or not self._name:
            raise RefusedError(f"pfctl: Unknown flush modifier '{what}'")
        self._pf.anchor(self._name)[what.lower()] = empty[what]
        self._note(f"{what.lower()} cleared")

    def _load(self, path: str) -> None:
        if not self._name or path != "-":
            raise RefusedError("pfctl: only anchors, from stdin")
        rules: list[str] = []
        tables: dict[str, list[str]] = {}
        with open(self._stdin, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    self._line(line.partition("#")[0].strip(), rules, tables)
                except (ValueError, IndexError) as error:
                    known = str(error) if isinstance(error, IndexError) else ""
                    text = f"stdin:{number}: {known or 'syntax error'}"
                    last = "pfctl: Syntax error in config file: pf rules not loaded"
                    raise RefusedError(f"{text}\n{last}") from error
        if "v" in self._options:
            print("\n".join(rules))
        if "n" not in self._options:
            anchor = self._pf.anchor(self._name)
            anchor["rules"] = rules
            anchor["tables"].update(tables)

    def _line(self, line: str, rules: list[str], tables: dict[str, list[str]]) -> None:
        words = line.split()
        if not words:
            return
        if words[0] == "table":
            name, entries = _parse_table(words[1:])
            tables[name] = entries
            return
        body, quote, rest = line.partition(' label "')
        label, end, trailer = rest.partition('"')
        if quote and (not end or trailer):
            raise ValueError(line)
        if len(label) > MAX_LABEL:
            raise IndexError(f"rule label too long (max {MAX_LABEL} chars)")
        rules.append(Rule(body.split()).text(label))

    def _table(self, verb: str, words: list[str]) -> None:
        name = self._options.get("t", "")
        if not name or len(name) > MAX_TABLE:
            raise RefusedError("usage: pfctl")
        hosts = [_host(word) for word in words]
        if verb == "add" and "n" in self._options:
            self._note(f"0/{len(hosts)} addresses added (syntax only).")
            return
        tables = self._pf.anchor(self._name)["tables"]
        if verb == "add" and name not in tables:
            tables[name] = []
        if name not in tables:
            raise RefusedError(f"pfctl: {NO_TABLE}", 255)
        match verb:
            case "add":
                new = [host for host in hosts if host not in tables[name]]
                tables[name] += new
                self._note(f"{len(new)}/{len(hosts)} addresses added.")
            case "delete":
                gone = [host for host in hosts if host in tables[name]]
                tables[name] = [host for host in tables[name] if host not in gone]
                self._note(f"{len(gone)}/{len(hosts)} addresses deleted.")
            case "show":
                for host in tables[name]:
                    print(f"   {host}")
            case "flush":
                tables[name] = []
            case _:
                raise RefusedError("usage: pfctl")


def _parse_table(words: list[str]) -> tuple[str, list[str]]:
    name = words[0]
    if not (name.startswith("<") and name.endswith(">")) or len(name) - 2 > MAX_TABLE:
        raise ValueError(name)
    rest = words[2:] if words[1] == "persist" else words[1:]
    if rest[0] != "{" or rest[-1] != "}":
        raise ValueError(words)
    return name[1:-1], [str(_host(word)) for word in rest[1:-1]]


def _host(word: str) -> str:
    try:
        network = ip_network(word)
    except ValueError as error:
        text = f"no IP address found for {word}"
        raise RefusedError(text) from error
    is_host = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if is_host else str(network)


def main(argv: list[str], stdin: str = "/dev/stdin") -> int:
    """Run the program; return its exit code."""
    try:
        Program(Pf(state_of(argv[0])), stdin).run(argv[1:])
    except RefusedError as error:
        print(error, file=sys.stderr)
        return error.status
    return 0


def state_of(program: str) -> str:
    """Return where the program of that path keeps its state."""
    return os.path.abspath(program) + ".state"
