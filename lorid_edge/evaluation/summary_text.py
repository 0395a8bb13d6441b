"""A summary in words."""

from __future__ import annotations

from collections.abc import Iterator

from lorid_edge.evaluation.authors_protocol import AuthorsProtocol
from lorid_edge.evaluation.sampling_metrics import AtK
from lorid_edge.evaluation.summary import Summary
from lorid_edge.loop.solution import Status

SHOWN_K = (1, 2, 4, 8, 16, 20)


def as_lines(summary: Summary) -> list[str]:
    """One topic a line; nothing but a remark while no problem is solved."""
    solved = summary.accuracy.problems
    if not solved:
        return [f"0 of {summary.problems} problems solved; there is nothing to sum up yet"]
    return list(_lines(summary, solved))


def _lines(summary: Summary, solved: int) -> Iterator[str]:
    if solved < summary.problems:
        yield (
            f"{solved} of {summary.problems} problems solved; those that take long are missing, "
            "so these figures are not the data set's"
        )
    yield f"accuracy: {summary.accuracy}"
    if summary.authors_protocol is not None:
        yield f"authors' protocol (any shared answer counts): {_authors(summary.authors_protocol)}"
    yield f"both reasoners agreed: {summary.agreement}"
    if summary.statuses[Status.AGREED]:
        yield f"right where they agreed: {summary.right_given_agreement}"
    histogram = ", ".join(f"{rounds}: {count}" for rounds, count in summary.rounds.items())
    yield f"rounds: {summary.mean_rounds:.2f} on average (problems by rounds: {histogram})"
    tokens, seconds, samples = summary.tokens, summary.seconds, summary.samples
    yield (
        f"tokens a problem: {tokens.generated:.0f} generated ({tokens.forced:.1f} forced), "
        f"{tokens.prompt:.0f} prompt + {tokens.cached:.0f} cached"
    )
    wall = "" if seconds.wall is None else f"{seconds.wall:.2f} of the run, "
    yield (
        f"seconds a problem: {wall}{seconds.decoding:.2f} decoding; "
        f"from question to answer {seconds.latency_median:.2f} (median)"
    )
    yield (
        f"samples: {samples.finished} finished, {samples.cut} of them at their token limit; "
        f"{samples.cancelled} cancelled"
    )
    yield (
        f"calculator: {samples.calculator_results} results, {samples.calculator_corrections} "
        "of them corrected the model"
    )
    for role, nats in samples.entropy_nats.items():
        yield f"{role.value.replace('_', ' ')}: {nats:.3f} nats of entropy a token"
    for role, values in summary.at_k.items():
        if values:
            yield f"{role.value.replace('_', ' ')}: {_at_k(values)}"
    yield (
        f"calibration: expected error {summary.calibration.expected_error:.3f}, "
        f"mean confidence minus accuracy {summary.calibration.overconfidence:+.3f}"
    )
    failed = [f"{count} {kind.value}" for kind, count in summary.failures.items() if count]
    yield f"failures: {'; '.join(failed) or 'none'}"


def _authors(protocol: AuthorsProtocol) -> str:
    low, high = protocol.bounds_percent
    if not protocol.open:
        return f"{low:.1f} %"
    problems = protocol.right + protocol.wrong + protocol.open
    return f"{low:.1f} to {high:.1f} %, {protocol.open} of {problems} open"


def _at_k(values: tuple[AtK, ...]) -> str:
    shown = [item for item in values if item.k in SHOWN_K or item is values[-1]]
    passed = ", ".join(f"pass@{item.k} {100 * item.pass_share:.1f} %" for item in shown)
    voted = ", ".join(f"majority@{item.k} {100 * item.majority_share:.1f} %" for item in shown)
    return f"{passed}; {voted}"
