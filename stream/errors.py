"""What publishing can raise."""


class PublishError(RuntimeError):
    """The node cannot publish: address in use or open to others without encryption, keys missing or unreadable."""
