"""What can go wrong in an audit."""


class AuditError(Exception):
    """An audit cannot be made, or would say nothing; the message says why."""
