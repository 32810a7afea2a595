"""The audit: what published skeletons still give away, to attackers who may retrain, and what they are good for."""

from .audit import Auditor
from .errors import AuditError
from .published import Published
from .publishing import publish, release
from .results import Audit, Finding
from .stamp import stamp

__all__ = ["Audit", "AuditError", "Auditor", "Finding", "Published", "publish", "release", "stamp"]
