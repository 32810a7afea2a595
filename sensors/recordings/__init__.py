"""Recordings of every kind that is known, told apart by content; one file for each format."""

from .identify import KINDS, Kind, kind_of, kind_of_file, read_recording, recording_files

__all__ = ["KINDS", "Kind", "kind_of", "kind_of_file", "read_recording", "recording_files"]
