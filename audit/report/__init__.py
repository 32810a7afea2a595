"""The report: `audit.json`, one page for people, and the summary that goes into a bundle's manifest."""

from .page import read_audit, render, write_report
from .summary import summary

__all__ = ["read_audit", "render", "summary", "write_report"]
