"""Importers: one for each kind of distribution of recordings."""

from pathlib import Path
from typing import Final

from skelanon.train.errors import DataError

from .importer import Importer

KINDS: Final = ("ntu", "etri", "utd-mhad", "npz")


def create_importer(kind: str, folder: Path) -> Importer:
    """The importer of a kind, having looked at the folder. Raises DataError: no such kind, or not such a folder."""
    if kind not in KINDS:
        raise DataError(f"{kind!r} is no kind of data set that can be imported: {', '.join(KINDS)}")
    if not folder.exists():
        raise DataError(f"{folder} does not exist: name the folder of the recordings")
    if kind == "ntu":
        from .ntu import NtuImporter

        return NtuImporter(folder)
    if kind == "etri":
        from .etri import EtriImporter

        return EtriImporter(folder)
    if kind == "utd-mhad":
        from .utd_mhad import UtdMhadImporter

        return UtdMhadImporter(folder)
    from .npz import open_npz

    return open_npz(folder)


__all__ = ["KINDS", "Importer", "create_importer"]
