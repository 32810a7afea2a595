"""Writes what an audit found into the manifests of the bundles that it attacked, and thereby onto the wire."""

import os
from pathlib import Path

from skelanon.export.bundle import with_audit
from skelanon.train.checkpoint import write_atomically
from skelanon.train.data.store import SkeletonDataset
from skelanon.train.errors import CheckpointError

from .errors import AuditError
from .publishing import is_bundle, open_bundle, release_key
from .report import summary
from .results import Audit


def stamp(audit: Audit, dataset: SkeletonDataset, folder: str | os.PathLike[str]) -> list[Path]:
    """Write each audited bundle into a folder, as NAME-DIGEST.onnx, the audit's summary in its manifest.

    Raises AuditError: the audit failed, a bundle is no longer the one that was audited, or cannot be written.
    """
    written = []
    for name, key in audit.releases.items():
        if not is_bundle(name):
            continue
        if release_key(name, dataset) != key:
            raise AuditError(f"{name} has changed since it was audited, or this is another data set: audit it again")
        bundle = with_audit(open_bundle(name), summary(audit, name))
        path = Path(folder) / f"{bundle.manifest.name}-{key[:8]}.onnx"
        try:
            write_atomically(path, bundle.model)
        except CheckpointError as error:
            raise AuditError(str(error)) from error
        written.append(path)
    return written
