"""Writes `audit.json` and `report.html`, and reads the former again."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from skelanon.audit.errors import AuditError
from skelanon.audit.results import FORMAT, Audit, Channel, Inversion, Linkage, Shape
from skelanon.train.checkpoint import write_atomically
from skelanon.train.errors import CheckpointError

from . import charts, tables, words
from .verdict import cautions, verdicts

_Row = TypeVar("_Row", Shape, Channel, Linkage, Inversion)


def write_report(audit: Audit, folder: str | os.PathLike[str]) -> Path:
    """Write both files, each as a whole or not at all. Returns the page's path. Raises AuditError."""
    page = Path(folder) / "report.html"
    try:
        write_atomically(Path(folder) / "audit.json", msgspec.json.format(msgspec.json.encode(audit), indent=2) + b"\n")
        write_atomically(page, render(audit).encode())
    except (CheckpointError, OSError) as error:
        raise AuditError(f"the report cannot be written: {error}") from error
    return page


def read_audit(path: str | os.PathLike[str]) -> Audit:
    """The audit of a file `audit.json`. Raises AuditError: not there, damaged, or of another format."""
    try:
        tree = msgspec.json.decode(Path(path).read_bytes())
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise AuditError(f"{path} is no audit of format {FORMAT}")
        for name in ("shapes", "linkage", "inversions"):
            tree[name] = [_with_nan(row) for row in tree.get(name, ())]
        return msgspec.convert(tree, Audit, str_keys=True)
    except OSError as error:
        raise AuditError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, msgspec.ValidationError, AttributeError, TypeError, RecursionError) as error:
        raise AuditError(f"{path} is no audit, or is damaged: {error}") from error


def render(audit: Audit) -> str:
    """The page: HTML that needs nothing else."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=words, charts=charts)
    private = [record for record in audit.tasks if record.use == "private"]
    return environment.get_template("report.html.j2").render(
        audit=audit,
        failed=bool(audit.failed),
        records={record.name: record for record in audit.tasks},
        private=private,
        verdicts=verdicts(audit),
        cautions=list(cautions(audit)),
        trade_offs=charts.trade_offs(audit),
        attackers=[(record, tables.attack_rows(audit, record)) for record in audit.tasks],
        maps=[(record, charts.heat_maps(record, audit.findings)) for record in private],
        persons=tables.persons_rows(audit),
        utility=tables.utility_rows(audit),
        drops=tables.drops(audit),
        shapes=_raw_last(audit, audit.shapes),
        channels=_raw_last(audit, sorted(audit.channels, key=lambda one: one.score, reverse=True)),
        linkage=_raw_last(audit, audit.linkage),
        inversions=_raw_last(audit, audit.inversions),
    )


def _raw_last(audit: Audit, rows: Sequence[_Row]) -> list[_Row]:
    order = words.last_raw(audit)
    return sorted(rows, key=lambda row: order.index(row.release))


def _with_nan(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: it is written as null. None of these fields may be null otherwise."""
    return {key: float("nan") if value is None else value for key, value in row.items()}
