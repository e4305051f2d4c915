"""The one exception type for what a user can get wrong."""


class InputError(ValueError):
    """A user's file, folder or flag is not usable; the message names it and the remedy.

    The command lines print the message alone and exit with status 2 (see ``cli.run``). Any other
    exception is a defect of this package and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        # torch carries an error out of a loader process as the text of its traceback.
        if "Traceback (most recent call last)" in message:
            message = message.rstrip().rpartition("InputError: ")[2]
        super().__init__(message)


class Stopped(BaseException):
    """A long run was asked to end, has saved where it is, and can be resumed.

    Attributes:
        signal: number of the signal that asked.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal
