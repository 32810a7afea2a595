"""What loading a configuration can raise."""


class ConfigError(ValueError):
    """The configuration cannot be read, or a value is not allowed; the message names file, key, value and rule."""
