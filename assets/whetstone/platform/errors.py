"""The one error that Whetstone raises on purpose."""


class WhetstoneError(ValueError):
    """Bad input or a broken artifact. The message names the thing, its place and the mend; the CLI prints it without a traceback."""
