"""Layer reports summed up into bytes that never go back."""

from __future__ import annotations

from math import ceil

from rexec.server.ports.images import LayerProgress
from rexec.server.ports.records import PullProgress

_UNPACKING = 0.25
"""What part of a layer's weight is its unpacking."""


class PullMeter:
    """Adds up one pull. Layers become known one after the other, so that the total grows; the share `current / total`
    never falls all the same."""

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._done: dict[str, float] = {}
        self._share = 0.0

    @property
    def downloaded_size(self) -> int:
        """Bytes of all layers known so far, as the registry packs them."""
        return sum(self._totals.values())

    def add(self, report: LayerProgress) -> PullProgress | None:
        """The new sum, None when nothing is known yet that could be told."""
        if report.step == "downloading" and report.total:
            self._totals[report.layer] = max(report.total, self._totals.get(report.layer, 0))
        size = self._totals.get(report.layer, 0)
        self._done[report.layer] = max(self._done.get(report.layer, 0.0), _share(report))
        total = self.downloaded_size
        if not total:
            return None
        reached = sum(size * self._done.get(layer, 0.0) for layer, size in self._totals.items())
        self._share = max(self._share, reached / total)
        current = min(total, ceil(total * self._share))
        self._share = current / total
        return PullProgress(report.layer if size else None, current, total)


def _share(report: LayerProgress) -> float:
    part = min(1.0, report.current / report.total) if report.total > 0 else 0.0
    match report.step:
        case "done":
            return 1.0
        case "extracting":
            return 1 - _UNPACKING + _UNPACKING * part
        case "downloaded":
            return 1 - _UNPACKING
        case "downloading":
            return (1 - _UNPACKING) * part
        case "waiting":
            return 0.0
