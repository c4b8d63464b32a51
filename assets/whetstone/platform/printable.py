"""Text of a shop on one line of a terminal or a page: any character may stand in it, none may do anything."""


def printable(text: str, width: int | None = None) -> str:
    """Every character that isn't printable, such as a terminal's control codes, as a blank; cut to `width` characters with an ellipsis."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if width is None or len(shown) <= width else shown[: width - 1] + "…"
