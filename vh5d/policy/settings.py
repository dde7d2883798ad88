"""What a policy may leave to the ``defaults`` block, and that to the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import (
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from vh5d.policy.block import Block
from vh5d.policy.datasets import Datasets
from vh5d.policy.fields import (
    Duration,
    Flag,
    Group,
    MaybeDuration,
    Mode,
    Patterns,
    SomePatterns,
    base_of,
    reject,
    seconds,
)
from vh5d.policy.globs import EXPECTED as GLOB_EXPECTED
from vh5d.policy.hooks import Hooks
from vh5d.policy.limits import Limits
from vh5d.policy.match import Matcher
from vh5d.policy.notifications import Notification
from vh5d.policy.retention_settings import Retention
from vh5d.policy.store_template import EXPECTED as TEMPLATE_EXPECTED
from vh5d.policy.store_template import StoreTemplate, anchored
from vh5d.policy.units import format_duration
from vh5d.policy.version_template import EXPECTED as VERSION_EXPECTED
from vh5d.policy.version_template import VersionTemplate

# HDF5 itself, netCDF-4, HDF-EOS5, NeXus, CXI (coherent imaging), H5Part (particles),
# MATLAB 7.3, AnnData: the suffixes under which HDF5 files are written.
DEFAULT_INCLUDE = (
    "*.h5",
    "*.hdf5",
    "*.hdf",
    "*.he5",
    "*.nxs",
    "*.nx5",
    "*.nexus",
    "*.nc",
    "*.nc4",
    "*.cxi",
    "*.h5part",
    "*.h5ad",
    "*.mat",
)
DEFAULT_STORE = "{root}/.vh5d/{path}"

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]

#: Settings that are blocks of settings: a policy changes single keys of the defaults' ones.
BLOCKS = ("datasets", "retention", "limits", "hooks")
_LEAST = {"poll_interval": 0.1, "swmr_interval": 1.0}


class Settings(Block):
    """What a policy may leave to the ``defaults`` block, and that to the program."""

    include: SomePatterns = Field(DEFAULT_INCLUDE, description="Which files, by name or path.")
    exclude: Patterns = Field((), description="Which files and directories not.")
    recursive: Flag = Field(
        True, description="Watched directories with all below them, or the files in them only."
    )
    symlinks: Literal["inside", "skip"] = Field(
        "inside", description="Symbolic links that stay inside the watched directory: follow them."
    )
    observer: Literal["auto", "inotify", "polling"] = Field(
        "auto", description="How changes are noticed; auto polls where inotify does not work."
    )
    poll_interval: Duration = seconds(5.0, "How often to look where changes are polled for.")
    settle: Duration = seconds(2.0, "Capture when a file was quiet for this long.")
    max_wait: Duration = Field(
        600.0,
        validate_default=True,
        json_schema_extra={"default": "10m"},
        description="Capture after this long in any case.",
    )
    min_interval: Duration = seconds(0.0, "The least time between two versions of one file.")
    while_open: Literal["wait", "swmr", "skip"] = Field(
        "wait",
        description="A file that somebody has open for writing: wait, capture SWMR files as they "
        "grow, or leave it alone.",
    )
    swmr_interval: Duration = seconds(60.0, "How often a growing SWMR file is captured.")
    significant: Literal["bytes", "content"] = Field(
        "bytes", description="Whether a change of bytes without a change of content counts."
    )
    datasets: Datasets = Field(
        Datasets(), description="Which datasets count: changes of others alone make no version."
    )
    follow: Flag = Field(
        False, description="Keep linked files, virtual sources and external storage of a tree too."
    )
    store: str = Field(DEFAULT_STORE, min_length=1, description="Where a file's versions go.")
    store_mode: Mode = Field(None, description="Permissions of stores, such as 0640.")
    store_group: Group = Field(None, description="The group of stores.")
    version_name: str = Field("v{sequence}", min_length=1, description="What versions are called.")
    compression: Literal["auto", "keep", "none", "zstd"] = Field(
        "auto", description="What to do with data that the source did not compress."
    )
    exact: Flag = Field(
        True, description="Keep what a restore bit for bit needs; without, content only."
    )
    retention: Retention | None = Field(None, description="Which versions are kept; null: all.")
    limits: Limits = Field(Limits(), description="How much of the machine this may take.")
    queue: Name = Field(
        "captures", description="The queue of the captures; workers take from some."
    )
    priority: Literal["high", "normal", "low"] = Field(
        "normal", description="Which captures go first when several wait."
    )
    hooks: Hooks = Field(Hooks(), description="Programs to run after a capture.")
    notify: tuple[Notification, ...] = Field((), description="Who is told when something is wrong.")
    stale_after: MaybeDuration = Field(
        None, description="Something is wrong when nothing changed for this long."
    )

    @field_validator("poll_interval", "swmr_interval")
    @classmethod
    def _not_all_the_time(cls, value: float, info: ValidationInfo) -> float:
        least = _LEAST[info.field_name or ""]
        if value < least:
            reject("this is too often", f"expected at least {format_duration(least)}")
        return value

    @field_validator("max_wait")
    @classmethod
    def _at_least_settle(cls, value: float, info: ValidationInfo) -> float:
        settle = info.data.get("settle", 0.0)
        if value < settle:
            problem = f"{format_duration(value)} is shorter than settle"
            reject(problem, f"expected at least {format_duration(settle)}")
        return value

    @field_validator("include", "exclude")
    @classmethod
    def _globs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        attempt(Matcher.build, (), value, (), expected=GLOB_EXPECTED)
        return value

    @field_validator("store")
    @classmethod
    def _anchored_template(cls, value: str, info: ValidationInfo) -> str:
        attempt(StoreTemplate.parse, value, expected=TEMPLATE_EXPECTED)
        return anchored(value, base_of(info))

    @field_validator("version_name")
    @classmethod
    def _version_template(cls, value: str) -> str:
        attempt(VersionTemplate.parse, value, expected=VERSION_EXPECTED)
        return value

    @field_validator("limits", "hooks", "datasets", mode="before")
    @classmethod
    def _empty_block(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("notify", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        if value is not None and not isinstance(value, list | tuple):
            reject("this is not a list", "expected a list, each with webhook, mail or command")
        return value or ()


def attempt(make: Callable[..., object], *arguments: object, expected: str) -> None:
    """Make something of a setting to see whether that goes; refuse the setting if not."""
    try:
        make(*arguments)
    except ValueError as error:
        reject(str(error), expected)
