"""A summary as JSON's types: what summary.json and --json hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lorid_edge.evaluation.accuracy import Accuracy
from lorid_edge.evaluation.authors_protocol import AuthorsProtocol
from lorid_edge.evaluation.calibration import Calibration
from lorid_edge.evaluation.sampling_metrics import AtK
from lorid_edge.evaluation.summary import SampleCounts, Summary

DECIMALS = 4


def as_dict(summary: Summary) -> dict[str, Any]:
    """The summary, schema 1; percentages are 0 to 100, shares 0 to 1."""
    authors = summary.authors_protocol
    return {
        "schema": 1,
        "problems": summary.problems,
        "solved": summary.accuracy.problems,
        "accuracy": accuracy_dict(summary.accuracy),
        "authors_protocol": None if authors is None else _authors_dict(authors),
        "statuses": {status.value: count for status, count in summary.statuses.items()},
        "agreement": accuracy_dict(summary.agreement),
        "accuracy_given_agreement": accuracy_dict(summary.right_given_agreement),
        "rounds": {
            "mean": round(summary.mean_rounds, DECIMALS),
            "problems": {str(rounds): count for rounds, count in summary.rounds.items()},
        },
        "tokens_per_problem": _rounded(asdict(summary.tokens)),
        "seconds_per_problem": _rounded(asdict(summary.seconds)),
        "samples": _samples_dict(summary.samples),
        "at_k": {
            role.value: [_at_k_dict(item) for item in values]
            for role, values in summary.at_k.items()
        },
        "calibration": _calibration_dict(summary.calibration),
        "failures": {kind.name.lower(): count for kind, count in summary.failures.items()},
    }


def accuracy_dict(accuracy: Accuracy) -> dict[str, Any]:
    """A proportion with its 95 % interval; without problems, no percentages."""
    low, high = accuracy.interval_percent
    measured = (accuracy.percent, low, high) if accuracy.problems else (None, None, None)
    names = ("percent", "low_percent", "high_percent")
    return {
        "right": accuracy.right,
        "problems": accuracy.problems,
        **_rounded(dict(zip(names, measured, strict=True))),
    }


def _authors_dict(protocol: AuthorsProtocol) -> dict[str, Any]:
    low, high = protocol.bounds_percent
    return {
        **asdict(protocol),
        **_rounded({"lowest_percent": low, "highest_percent": high}),
    }


def _samples_dict(samples: SampleCounts) -> dict[str, Any]:
    entropies = {role.value: round(nats, DECIMALS) for role, nats in samples.entropy_nats.items()}
    return {**asdict(samples), "entropy_nats": entropies}


def _at_k_dict(item: AtK) -> dict[str, Any]:
    return {"k": item.k, **_rounded({"pass": item.pass_share, "majority": item.majority_share})}


def _calibration_dict(measured: Calibration) -> dict[str, Any]:
    return {
        **_rounded(
            {
                "expected_error": measured.expected_error,
                "overconfidence": measured.overconfidence,
            }
        ),
        "bins": [
            {
                "low": item.low,
                "high": item.high,
                "confidence": round(item.confidence, DECIMALS),
                **accuracy_dict(item.accuracy),
            }
            for item in measured.bins
        ],
    }


def _rounded(values: dict[str, float | None]) -> dict[str, float | None]:
    return {
        name: None if value is None else round(value, DECIMALS) for name, value in values.items()
    }
