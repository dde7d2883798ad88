"""What a policy asks of the captures of its files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vh5d.policy import Policy
from vh5d.service.capturing.followers import Follower

if TYPE_CHECKING:
    from vh5d.capture.options import Busy, CaptureOptions


def capture_options(
    policy: Policy,
    path: Path,
    *,
    busy: Busy = "refuse",
    parse: bool = True,
    timeout: float = 30.0,
    real: Path | None = None,
    policies: Collection[Policy] = (),
) -> CaptureOptions:
    """Return the options of a capture as a policy says.

    Parameters
    ----------
    policy
        The policy.
    path
        The source.
    busy, parse, timeout, real
        As of `CaptureOptions`: these depend on the occasion.
    policies
        All that there are. When they are given, files are followed as the policy says.
    """
    from vh5d.capture.options import CaptureOptions

    def name(sequence: int, when: datetime) -> str:
        return policy.version_template.render(sequence, when, policy=policy.name, stem=path.stem)

    options = CaptureOptions(
        compression=policy.compression,
        significant=policy.significant,
        busy=busy,
        exact=policy.exact,
        counts=None if policy.datasets.all else policy.datasets.counts,
        version_name=name,
        file_size=policy.limits.file_size,
        read_rate=policy.limits.read_rate,
        store_mode=policy.store_mode,
        store_group=policy.store_group,
        parse=parse,
        timeout=timeout,
        real=real,
    )
    if policy.follow and policies:
        return replace(options, follow=Follower(path, policy, policies, options))
    return options
