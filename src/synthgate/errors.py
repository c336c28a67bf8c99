"""The exception tree; every message says what was expected, what came, where, and what to do.

SynthgateError
 ├── ParamsError      a parameter is unknown, missing or contradicts another
 ├── CohortError      a source, cohort folder or case is not what its contract says
 ├── LineageError     a combination would leak patients
 ├── ArtefactError    a file synthgate made is missing, broken or not the one expected
 ├── BusyError        another process holds the scratch folder
 ├── WorkerError      a process of our own died
 └── IntakeError      a request to the service cannot be answered
"""


class SynthgateError(Exception):
    """Base of all errors a user can act upon; the command line prints it and exits with 2."""


class ParamsError(SynthgateError):
    """A parameter is unknown, missing or contradicts another."""


class CohortError(SynthgateError):
    """A source, cohort folder or case is not what its contract says."""


class LineageError(SynthgateError):
    """A combination would let a patient reach what they are kept from."""


class ArtefactError(SynthgateError):
    """A file synthgate made is missing, broken or not the one expected."""


class BusyError(SynthgateError):
    """Another process holds the scratch folder."""


class WorkerError(SynthgateError):
    """A process of our own died in the middle of its work."""


class IntakeError(SynthgateError):
    """A request to the service cannot be answered; carries the HTTP status."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
