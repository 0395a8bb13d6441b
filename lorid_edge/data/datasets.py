"""Data sets by name or path, each asked for one of its splits.

    train = load_dataset("gsm8k", Split.TRAIN)
    own = load_dataset("problems.jsonl")

A split that is meant for training never holds a question of GSM8K's development or test split,
whatever file it comes from: see `lorid_edge.data.held_out`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydantic import ValidationError

from lorid_edge.data import gsm8k
from lorid_edge.data.forms import Fields, read_fields
from lorid_edge.data.held_out import require_trainable
from lorid_edge.data.notes import NotedProblems
from lorid_edge.data.published_forms import is_made_from_a_test
from lorid_edge.data.reading import Contents, FoundObject, read_file, read_folder
from lorid_edge.data.record import FormError, Record
from lorid_edge.errors import DataError
from lorid_edge.packs.download import ProgressCallback, pull_file
from lorid_edge.packs.places import Places
from lorid_edge.problems import BrokenLine

MATH = "math"
_MAX_NAMED = 5
_NAMES_OF_TESTS = frozenset(
    ("test", "dev", "development", "eval", "evaluation", "val", "valid", "validation")
)


class Split(str, Enum):
    """What records are for: to train on, to choose by, or to report numbers of."""

    TRAIN = "train"
    DEVELOPMENT = "development"
    TEST = "test"


@dataclass(frozen=True)
class Dataset:
    """The records of one split.

    Attributes:
        name: such as "gsm8k", or the name of the file or folder.
        sha256: of the file's bytes, or of all files of a folder; splits of one file share it.
        broken: the lines that hold no record, and why; in a folder, its files by their number.
    """

    name: str
    split: Split
    records: tuple[Record, ...]
    sha256: str
    broken: tuple[BrokenLine, ...]


def load_dataset(
    name_or_path: str | Path,
    split: Split = Split.TRAIN,
    *,
    needs_answers: bool = False,
    max_broken_fraction: float = 0.01,
    broken_setting: str | None = None,
    progress: ProgressCallback | None = None,
) -> Dataset:
    r"""Load one split of a data set.

    Args:
        name_or_path: `gsm8k`, which is fetched once; or a path: one of GSM8K's own files, known by
            its content; a file of JSON lines, a JSON array, a table (.csv) or ASDiv's XML, in one
            of the forms of `lorid_edge.data.forms`, or of notes (`lorid_edge.data.notes`), for
            which GSM8K is fetched; or a folder that holds train.jsonl and test.jsonl, or MATH's
            folders of JSON files.
        split: the development split of GSM8K is the last 500 lines of its training file. Any other
            file is one split, and taken for what is asked for unless its name says it is a test.
        needs_answers: count a problem without a reference answer as broken.
        max_broken_fraction: more broken lines than this, 0 to 1, and nothing is loaded.
        broken_setting: by what the user can allow more of them, for the message.
        progress: hears of a download.

    Raises:
        DataError: there is no such data set or split, too much of it is broken, or it holds
            questions that no training may see.
        DownloadError: it cannot be fetched; OfflineError: it must not be.
    """
    if name_or_path == gsm8k.NAME:
        published = gsm8k.TEST_FILE if split is Split.TEST else gsm8k.TRAIN_FILE
        places = Places.default()
        target = places.dataset(published.sha256, published.file)
        path = pull_file(published, target, places.home, places, progress)
    elif name_or_path == MATH:
        raise DataError(
            "the data set math has no address of its own: give the path of its unpacked folder "
            "(with train/ and test/), or of a file of JSON lines with problem and solution"
        )
    else:
        path = _existing(name_or_path, split)
    contents = read_folder(path) if path.is_dir() else read_file(path)
    name, objects, broken = _of_split(path, contents, split)
    records, unread = _records(name, objects, split, needs_answers)
    broken = sorted((*broken, *unread), key=lambda line: line.line)
    remedy = "Correct them" + (f", or allow more with {broken_setting}." if broken_setting else ".")
    _require_mostly_whole(path, len(records), broken, max_broken_fraction, remedy)
    if split is Split.TRAIN:
        require_trainable(records, source=str(path))
    return Dataset(name, split, records, contents.sha256, tuple(broken))


def _existing(name_or_path: str | Path, split: Split) -> Path:
    """The file or folder of JSON files that holds `split`."""
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(
            f"unknown data set {str(name_or_path)!r}; known by name is {gsm8k.NAME}, and the path "
            "of a file (JSON lines, a JSON array, CSV, ASDiv's XML) or of a folder works too"
        )
    file = path / f"{split.value}.jsonl"
    train = path / f"{Split.TRAIN.value}.jsonl"
    if file.is_file():
        return file
    if split is Split.DEVELOPMENT and train.is_file():
        return train
    folders = [path / known.value for known in Split if (path / known.value).is_dir()]
    if folders and path / split.value not in folders:
        raise DataError(f"{path} has no folder {split.value}; it has {_names(folders)}")
    folder = path / split.value if folders else path
    if not any(folder.rglob("*.json")):
        raise DataError(f"{folder} holds neither {split.value}.jsonl nor JSON files of problems")
    return folder


def _of_split(
    path: Path, contents: Contents, split: Split
) -> tuple[str, list[FoundObject], list[BrokenLine]]:
    """The data set's name and what of it belongs to `split`."""
    objects, broken = list(contents.objects), list(contents.broken)
    if contents.sha256 == gsm8k.TRAIN_FILE.sha256 and split is not Split.TEST:
        lines = max(found.line for found in objects)
        first_held_out = lines - gsm8k.DEVELOPMENT_RECORDS + 1
        is_held_out = split is Split.DEVELOPMENT
        kept = [found for found in objects if (found.line >= first_held_out) is is_held_out]
        return gsm8k.NAME, kept, broken
    if contents.sha256 == gsm8k.TEST_FILE.sha256 and split is Split.TEST:
        return gsm8k.NAME, objects, broken
    known = {gsm8k.TRAIN_FILE.sha256: "training", gsm8k.TEST_FILE.sha256: "test"}
    if contents.sha256 in known:
        raise DataError(
            f"{path} is GSM8K's {known[contents.sha256]} file; it holds no {split.value} split"
        )
    if split is Split.TRAIN and _NAMES_OF_TESTS & set(re.split(r"[^a-z]+", path.stem.lower())):
        raise DataError(
            f"{path} is named as data to test with, so nothing is trained on it; "
            "rename it if it is for training"
        )
    if split is Split.DEVELOPMENT and path.stem == Split.TRAIN.value:
        raise DataError(
            f"{path} is for training; put development.jsonl beside it for a development split"
        )
    is_named_by_split = path.stem in {known.value for known in Split}
    name = path.resolve().parent.name if is_named_by_split else path.stem
    return name or "data", objects, broken


def _records(
    name: str, objects: Iterable[FoundObject], split: Split, needs_answers: bool
) -> tuple[tuple[Record, ...], list[BrokenLine]]:
    records: list[Record] = []
    broken: list[BrokenLine] = []
    taken: dict[str, int] = {}
    noted = NotedProblems(_gsm8k_by_id)
    for found in objects:
        try:
            if split is Split.TRAIN and is_made_from_a_test(found.content):
                raise FormError("made from a problem of GSM8K's test split; only to test with")
            fields = read_fields(noted.complete(found.content))
            if needs_answers and fields.answer is None:
                raise FormError(
                    'no reference answer; expected "answer", or a "solution" or "rationale" that '
                    "ends in one"
                )
            records.append(_record(fields, f"{name}-{split.value}-{found.name}", taken))
        except FormError as error:
            broken.append(BrokenLine(found.line, str(error)))
        except ValidationError as error:
            reasons = (f'"{problem["loc"][0]}": {problem["msg"]}' for problem in error.errors())
            broken.append(BrokenLine(found.line, "; ".join(reasons)))
    return tuple(records), broken


def _gsm8k_by_id() -> dict[str, Record]:
    return {record.id: record for record in load_dataset(gsm8k.NAME, Split.TRAIN).records}


def _record(fields: Fields, default_id: str, taken: dict[str, int]) -> Record:
    """The record, its id made unique: variants of one problem may share theirs."""
    wanted = fields.id or default_id
    identity = wanted
    while identity in taken:
        taken[wanted] += 1
        identity = f"{wanted}-{taken[wanted]}"
    record = Record(
        id=identity,
        question=fields.question,
        rationale=fields.rationale,
        answer=fields.answer,
        knowledge=fields.knowledge,
    )
    taken[identity] = 1
    return record


def _require_mostly_whole(
    path: Path, whole: int, broken: list[BrokenLine], max_broken_fraction: float, remedy: str
) -> None:
    lines = "".join(f"\n  line {line.line}: {line.reason}" for line in broken[:_MAX_NAMED])
    more = f"\n  and {len(broken) - _MAX_NAMED} more" if len(broken) > _MAX_NAMED else ""
    if not whole:
        raise DataError(f"{path} holds no problem:{lines}{more}" if broken else f"{path} is empty")
    fraction = len(broken) / (len(broken) + whole)
    if fraction > max_broken_fraction:
        raise DataError(
            f"{path}: {len(broken)} of {len(broken) + whole} lines are broken, at most "
            f"{max_broken_fraction:.1%} may be:{lines}{more}\n{remedy}"
        )


def _names(paths: Iterable[Path]) -> str:
    return " and ".join(path.name for path in paths)
