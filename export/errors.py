"""What reading, running or writing a bundle can raise."""


class BundleError(ValueError):
    """The bundle is refused (foreign, edited, of a future format, wrong shapes) or cannot be written."""


class RunnerError(RuntimeError):
    """The model cannot be loaded or has failed; the message never carries a joint value."""
