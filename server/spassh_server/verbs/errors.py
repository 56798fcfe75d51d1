"""What ends a verb."""


class VerbError(Exception):
    """The verb cannot do what it was asked for; `hint` says how it could."""

    def __init__(self, what: str, hint: str, status: int = 1) -> None:
        super().__init__(what)
        self.hint = hint
        self.status = status
        """What to exit with."""
