"""Keep every state of HDF5 files."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vh5d.capture.capture import capture
    from vh5d.capture.diff import diff
    from vh5d.capture.extract import extract
    from vh5d.capture.options import CaptureOptions, CaptureResult
    from vh5d.capture.repair import RepairResult, repair
    from vh5d.capture.restore import RestoreResult, restore
    from vh5d.errors import (
        AlreadyRunningError,
        AmbiguousVersionError,
        BrokerError,
        NotAStoreError,
        PolicyError,
        QuotaError,
        ServiceError,
        SourceBusyError,
        SourceChangedError,
        SourceError,
        SourceMissingError,
        SourceTooLargeError,
        SourceUnreadableError,
        StoreBusyError,
        StoreConflictError,
        StoreDamagedError,
        StoreError,
        StoreMissingError,
        StoreWriteError,
        TargetExistsError,
        UsageError,
        VersionNotFoundError,
        VH5DError,
    )
    from vh5d.interop.exporting import ExportResult, export_file
    from vh5d.interop.importing import ImportResult, import_file
    from vh5d.store.compact import CompactResult, compact
    from vh5d.store.companions import Companion
    from vh5d.store.diff import Diff
    from vh5d.store.prune import PruneResult, prune
    from vh5d.store.reader import StoreReader, open_store
    from vh5d.store.tags import tag, untag
    from vh5d.store.verify import Problem, VerifyResult, verify
    from vh5d.store.versions import VersionInfo
    from vh5d.versioned.file import VersionedHDF5File
    from vh5d.versioned.maintenance import delete_versions, modify_metadata, recreate_dataset
    from vh5d.versioned.opening import open  # noqa: A004 - as in gzip and tarfile

__version__ = "0.1.0"

__all__ = [
    "AlreadyRunningError",
    "AmbiguousVersionError",
    "BrokerError",
    "CaptureOptions",
    "CaptureResult",
    "CompactResult",
    "Companion",
    "Diff",
    "ExportResult",
    "ImportResult",
    "NotAStoreError",
    "PolicyError",
    "Problem",
    "PruneResult",
    "QuotaError",
    "RepairResult",
    "RestoreResult",
    "ServiceError",
    "SourceBusyError",
    "SourceChangedError",
    "SourceError",
    "SourceMissingError",
    "SourceTooLargeError",
    "SourceUnreadableError",
    "StoreBusyError",
    "StoreConflictError",
    "StoreDamagedError",
    "StoreError",
    "StoreMissingError",
    "StoreReader",
    "StoreWriteError",
    "TargetExistsError",
    "UsageError",
    "VH5DError",
    "VerifyResult",
    "VersionInfo",
    "VersionNotFoundError",
    "VersionedHDF5File",
    "__version__",
    "capture",
    "compact",
    "delete_versions",
    "diff",
    "export_file",
    "extract",
    "import_file",
    "modify_metadata",
    "open",
    "open_store",
    "prune",
    "recreate_dataset",
    "repair",
    "restore",
    "tag",
    "untag",
    "verify",
]

_HOMES = {
    "CaptureOptions": "capture.options",
    "CaptureResult": "capture.options",
    "CompactResult": "store.compact",
    "Companion": "store.companions",
    "Diff": "store.diff",
    "ExportResult": "interop.exporting",
    "ImportResult": "interop.importing",
    "Problem": "store.verify",
    "PruneResult": "store.prune",
    "RepairResult": "capture.repair",
    "RestoreResult": "capture.restore",
    "StoreReader": "store.reader",
    "VerifyResult": "store.verify",
    "VersionInfo": "store.versions",
    "VersionedHDF5File": "versioned.file",
    "capture": "capture.capture",
    "compact": "store.compact",
    "delete_versions": "versioned.maintenance",
    "diff": "capture.diff",
    "export_file": "interop.exporting",
    "extract": "capture.extract",
    "import_file": "interop.importing",
    "modify_metadata": "versioned.maintenance",
    "open": "versioned.opening",
    "open_store": "store.reader",
    "prune": "store.prune",
    "recreate_dataset": "versioned.maintenance",
    "repair": "capture.repair",
    "restore": "capture.restore",
    "tag": "store.tags",
    "untag": "store.tags",
    "verify": "store.verify",
}


def __getattr__(name: str) -> Any:
    # h5py and numpy take a tenth of a second, which `vh5d --help` does without.
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
