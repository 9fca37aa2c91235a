"""How far a creation has come, as one number that never falls."""

from __future__ import annotations

from rexec.server.ports.records import PullProgress, Stage

_SPANS = {
    Stage.VALIDATING: (0, 5),
    Stage.PULLING: (5, 60),
    Stage.CREATING: (60, 70),
    Stage.STARTING: (70, 80),
    Stage.CONFIGURING: (80, 99),
    Stage.READY: (100, 100),
}
MESSAGES = {
    Stage.VALIDATING: "Checking the request",
    Stage.PULLING: "Making sure that the image is here",
    Stage.CREATING: "Creating the container",
    Stage.STARTING: "Starting the container",
    Stage.CONFIGURING: "Setting the container up",
    Stage.READY: "The container is ready",
}


def at(stage: Stage, part: PullProgress | None = None) -> int:
    """0–100; within a stage it follows the bytes of `part`."""
    first, last = _SPANS[stage]
    if part is None or part.total <= 0:
        return first
    return first + (last - first) * min(part.current, part.total) // part.total
