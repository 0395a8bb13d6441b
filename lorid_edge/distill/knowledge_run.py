"""A run that has a teacher write the knowledge for a data set.

Several problems are with the teacher at once. A reply that fails a check is asked for again with
another seed; a problem that fails every time, or that the teacher cannot take at all, is set aside
with the reason. What is finished is in the journal, so that a run may be killed at any moment.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorid_edge.data.held_out import require_trainable
from lorid_edge.data.rationales import without_annotations
from lorid_edge.data.record import Record
from lorid_edge.distill.journal import Journal, Line, open_journal
from lorid_edge.distill.knowledge import RejectedReplyError, check_rules, parse_rules
from lorid_edge.distill.teacher import TOO_LONG, Ask, Reply, Teacher
from lorid_edge.errors import DataError, LoridError
from lorid_edge.packs.store import PackStore


@dataclass(frozen=True)
class KnowledgeJob:
    """What is to be made.

    Attributes:
        records: problems with their rationales; those without are left out.
        output: the file of JSON lines; one that is there already is gone on with.
        seed: another seed gives other replies.
        attempts: replies asked for before a problem is set aside.
        useless_limit: so many problems set aside in a row, and the teacher is given up.
    """

    records: Sequence[Record]
    output: Path
    seed: int = 0
    attempts: int = 4
    useless_limit: int = 20


@dataclass
class KnowledgeReport:
    """How far a run is; `to_dict` is what `--json` prints.

    Attributes:
        problems: with a rationale, all of the data set.
        kept: of these, with knowledge, by this run and those before.
        rules: of the kept ones.
        set_aside: problems that failed, by reason, by this run and those before.
        replies: that came in this run.
        rejected: of these, those that failed a check, by reason.
        prompt_tokens: of this run; 0 where the teacher does not tell.
        generated_tokens: likewise.
        seconds: of this run.
    """

    problems: int
    kept: int = 0
    rules: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    replies: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Problems that need no more work."""
        return self.kept + self.set_aside.total()

    def to_dict(self) -> dict[str, Any]:
        """The fields, and what follows from them."""
        minutes = self.seconds / 60
        return {
            **vars(self),
            "set_aside": dict(self.set_aside.most_common()),
            "rejected": dict(self.rejected.most_common()),
            "done": self.done,
            "rules_per_problem": round(self.rules / self.kept, 2) if self.kept else None,
            "replies_per_minute": round(self.replies / minutes, 1) if minutes else None,
        }


def knowledge_steps(
    job: KnowledgeJob, teacher: Teacher, store: PackStore | None = None
) -> Iterator[KnowledgeReport]:
    """Ask for all knowledge that is missing; the report so far at the start and at each reply.

    It is the same object each time. `teacher.abort` stops the work from any thread.

    Raises:
        DataError: no problem has a rationale, or one is held out from training.
        UsageError: the output holds something else.
        LoridError: another run writes to it, the disk is full, the teacher is down, or nothing
            that it says can be used.
    """
    store = store or PackStore()
    require_trainable(job.records)
    records = [record for record in job.records if record.rationale is not None]
    if not records:
        raise DataError("no problem has a rationale, which the teacher has to see; give others")
    with open_journal(job.output, store.places.state / "locks") as journal:
        run = _Run(job, teacher, journal, records)
        yield run.report
        yield from run.steps()


class _Run:
    """The problems that wait, those with the teacher, and what came of the others."""

    def __init__(
        self, job: KnowledgeJob, teacher: Teacher, journal: Journal, records: Sequence[Record]
    ) -> None:
        self._job, self._teacher, self._journal = job, teacher, journal
        self._made = {"teacher": teacher.name, "seed": job.seed}
        journal.require_fields("knowledge", "teacher")
        journal.require_same_data(records)
        journal.retry_unless(self._made)
        self._records = {record.id: record for record in records}
        self._waiting = deque(r.id for r in records if not journal.is_done(r.id))
        self._reasons: dict[str, list[str]] = {}
        self._useless: list[Line] = []
        self.report = _report_so_far(self._records, journal)

    def steps(self) -> Iterator[KnowledgeReport]:
        began = time.perf_counter()
        under_way = 0
        while self._waiting or under_way:
            while self._waiting and under_way < self._teacher.capacity:
                self._ask(self._waiting.popleft())
                under_way += 1
            for reply in self._teacher.next_replies():
                under_way -= 1
                self._take(reply)
                self.report.seconds = round(time.perf_counter() - began, 1)
                yield self.report
        self._write_useless()

    def _ask(self, key: str) -> None:
        record = self._records[key]
        attempt = len(self._reasons.get(key, ()))
        text = f"{self._job.seed}/{key}/{attempt}".encode("utf-8", "surrogatepass")
        seed = int.from_bytes(hashlib.blake2s(text).digest()[:4], "little") >> 1
        rationale = without_annotations(record.rationale or "")
        self._teacher.submit(Ask(key, record.question, rationale, seed, attempt))

    def _take(self, reply: Reply) -> None:
        report, record = self.report, self._records[reply.key]
        report.replies += 1
        report.prompt_tokens += reply.prompt_tokens
        report.generated_tokens += reply.generated_tokens
        if reply.refusal:
            report.rejected[reply.refusal] += 1
            self._reject(record, reply.refusal, is_final=True)
            return
        try:
            rules = parse_rules(reply.text)
            check_rules(rules, record)
        except RejectedReplyError as error:
            report.rejected[str(error)] += 1
            self._reject(record, str(error))
            return
        self._write_useless()
        attempts = len(self._reasons.pop(record.id, ())) + 1
        content = record.model_dump(mode="json") | {"knowledge": list(rules)}
        self._journal.keep([{**content, **self._made, "attempts": attempts}])
        report.kept += 1
        report.rules += len(rules)

    def _reject(self, record: Record, reason: str, *, is_final: bool = False) -> None:
        reasons = self._reasons.setdefault(record.id, [])
        reasons.append(reason)
        if len(reasons) < self._job.attempts and not is_final:
            self._waiting.appendleft(record.id)
            return
        del self._reasons[record.id]
        seen = record.model_dump(mode="json", include={"id", "question", "rationale", "answer"})
        line = {**seen, "reason": reason, "reasons": reasons}
        self.report.set_aside[reason] += 1
        if reason == TOO_LONG:  # which says nothing about the teacher
            self._journal.set_aside({**line, **self._made})
            return
        self._useless.append({**line, **self._made})
        if len(self._useless) >= self._job.useless_limit:
            raise LoridError(
                f"nothing that {self._teacher.name} said about the last {len(self._useless)} "
                f"problems can be used: {_common_reasons(self._useless)}. They are left to be "
                f"done; {self.report.kept} problems with knowledge are kept in {self._job.output}. "
                "Use another teacher."
            )

    def _write_useless(self) -> None:
        """Note what was set aside, once the teacher has shown that it is of use."""
        for line in self._useless:
            self._journal.set_aside(line)
        self._useless.clear()


def _report_so_far(records: dict[str, Record], journal: Journal) -> KnowledgeReport:
    report = KnowledgeReport(len(records))
    for line in journal.lines:
        if line["id"] in records:
            report.kept += 1
            report.rules += len(line.get("knowledge", ()))
    kept = {line["id"] for line in journal.lines}
    last_reason = {line["id"]: str(line.get("reason")) for line in journal.set_aside_lines}
    for key, reason in last_reason.items():
        if key in records and key not in kept and journal.is_done(key):
            report.set_aside[reason] += 1
    return report


def _common_reasons(lines: Sequence[Line]) -> str:
    counted = Counter(reason for line in lines for reason in line["reasons"])
    return ", ".join(f"{reason} ({count} times)" for reason, count in counted.most_common(3))
