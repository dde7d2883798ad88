"""One tree of exceptions, grouped by what a caller does about them.

::

    VH5DError                     anything vh5d refuses or cannot do; exit code 1
    ├── UsageError                the request cannot be meant: mend the request; exit code 2
    │   ├── VersionNotFoundError  no such version (also a KeyError)
    │   ├── AmbiguousVersionError a prefix of several versions
    │   ├── TargetExistsError     would overwrite something (also a FileExistsError)
    │   └── PolicyError           a policy file is wrong: file, line, key
    ├── SourceError               a source cannot be captured
    │   ├── SourceMissingError    it is not there, or is not a regular file
    │   ├── SourceUnreadableError it may not be read
    │   ├── SourceBusyError       somebody is writing it: come back later
    │   └── SourceChangedError    it changed while it was read: come back later
    ├── StoreError                a store cannot be used
    │   ├── StoreMissingError     there is none
    │   ├── NotAStoreError        the file is something else
    │   ├── StoreBusyError        another writer or a long reader: come back later
    │   ├── StoreConflictError    another writer committed first: come back later
    │   ├── StoreWriteError       the disk refused (full, read-only, I/O error)
    │   ├── QuotaError            the stores of its policy take all that they may
    │   └── StoreDamagedError     what is read is not what was written
    └── ServiceError              the service cannot run
        ├── AlreadyRunningError   another instance has this state directory
        └── BrokerError           the queue cannot be reached
"""

from __future__ import annotations


class VH5DError(Exception):
    """Anything vh5d refuses or cannot do.

    Parameters
    ----------
    message
        What is wrong, and where, in one line.
    hint
        What to do about it, in one line.
    """

    exit_code = 1
    retryable = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(VH5DError):
    """The request cannot be meant: mend the request."""

    exit_code = 2


class VersionNotFoundError(UsageError, KeyError):
    """No such version."""

    # KeyError's own __str__ shows the repr of its argument.
    __str__ = VH5DError.__str__


class AmbiguousVersionError(UsageError):
    """A prefix of several versions."""


class TargetExistsError(UsageError, FileExistsError):
    """Would overwrite something."""

    __str__ = VH5DError.__str__


class PolicyError(UsageError):
    """A policy file is wrong."""


class SourceError(VH5DError):
    """A source cannot be captured."""


class SourceMissingError(SourceError):
    """The source is not there, or is not a regular file."""


class SourceUnreadableError(SourceError):
    """The source may not be read."""


class SourceBusyError(SourceError):
    """Somebody is writing the source."""

    retryable = True


class SourceChangedError(SourceError):
    """The source changed while it was read."""

    retryable = True


class SourceTooLargeError(SourceError):
    """The source is larger than what is to be captured."""


class StoreError(VH5DError):
    """A store cannot be used."""


class StoreMissingError(StoreError):
    """There is no such store."""


class NotAStoreError(StoreError):
    """The file is not a store."""


class StoreBusyError(StoreError):
    """Another writer or a long reader has the store."""

    retryable = True


class StoreConflictError(StoreError):
    """Another writer committed since staging began."""

    retryable = True


class StoreWriteError(StoreError):
    """The disk refused a write."""

    retryable = True


class QuotaError(StoreError):
    """The stores of a policy take all that they may."""

    retryable = True


class StoreDamagedError(StoreError):
    """What is read is not what was written."""


class ServiceError(VH5DError):
    """The service cannot run."""


class AlreadyRunningError(ServiceError):
    """Another instance has the state directory or a watched directory."""


class BrokerError(ServiceError):
    """The queue cannot be reached."""

    retryable = True
