"""How a job that failed is reported: the exit code of the rank that failed first."""


class WorkerFailure(RuntimeError):
    """A rank failed, or the launcher was asked to stop.

    Args:
        message: for the user.
        exit_code: that the launcher should end with, 1 to 255.
    """

    def __init__(self, message, exit_code):
        super().__init__(message, exit_code)
        self.message = message
        self.exit_code = exit_code

    def __str__(self):
        return self.message
