"""spasshd doctor: what keeps people out or lets them in, and what mends it."""

import json
import os
from argparse import Namespace
from collections.abc import Iterator

from spassh.protocol.finding import Finding, Result, encode_findings, render, worst

from .. import config, events
from ..doctor.visit import visit
from ..events import printable
from ..toml import ConfigError


def run(options: Namespace) -> int:
    """Print the findings; exit 1 if one is a problem."""
    if os.geteuid() != 0:
        events.error("spasshd doctor needs root", "run this as root")
        return 1
    findings = []
    for finding in _findings(options.config):
        findings.append(finding)
        if not options.json:
            # At once: some of them take their time.
            print("\n".join(map(printable, render(finding))), flush=True)
    if options.json:
        result = str(worst(findings))
        print(json.dumps({"result": result, "findings": encode_findings(findings)}))
    return 1 if worst(findings) is Result.PROBLEM else 0


def _findings(path: str) -> Iterator[Finding]:
    try:
        yield from visit(config.load(path))
    except ConfigError as error:
        yield Finding("configuration", Result.PROBLEM, str(error), error.hint)
