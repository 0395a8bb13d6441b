"""`lorid-edge doctor`: what this machine can run, what is broken, and the fix."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from . import streams

SOMETHING_BROKEN = 1


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Tell what this machine can run, what is broken, and the fix. Exit code 1 if broken.

    Example: lorid-edge doctor
    """
    from lorid_edge.packs.store import PackStore

    from .diagnosis import State, diagnose

    findings = []
    for finding in diagnose(PackStore()):
        findings.append(finding)
        if not as_json:
            streams.result(f"{finding.state.value:8} {finding.name:14} {finding.text}")
            if finding.fix:
                streams.result(f"{'':8} {'':14} -> {finding.fix}")
    is_broken = any(finding.state is State.BROKEN for finding in findings)
    if as_json:
        entries = [
            {
                "name": finding.name,
                "state": finding.state.value,
                "text": finding.text,
                "fix": finding.fix,
                "details": finding.details,
            }
            for finding in findings
        ]
        report = {"schema": 1, "ok": not is_broken, "findings": entries}
        streams.json_result(json.dumps(report, ensure_ascii=False))
    if is_broken:
        raise typer.Exit(SOMETHING_BROKEN)
