"""The engine's pure parts: log frames, progress, readings of Docker's answers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexec.errors import Invalid
from rexec.server.engines.docker.client import tell
from rexec.server.engines.docker.files import HostFiles
from rexec.server.engines.docker.logs import last_bytes
from rexec.server.engines.docker.objects import inspected, object_name
from rexec.server.images.progress import PullMeter
from rexec.server.ports.images import LayerProgress
from rexec.server.ports.records import Phase


async def _cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 8, 1000])
async def test_log_frames_are_joined_however_they_are_cut(size: int) -> None:
    frames = b"".join(bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text for stream, text in
                      ((1, b"one\n"), (2, b""), (2, b"two\n"), (1, b"x" * 300)))  # fmt: skip
    assert await last_bytes(_cut(frames, size)) == b"one\ntwo\n" + b"x" * 300
    assert await last_bytes(_cut(frames, size), longest=5) == b"xxxxx"


_REPORTS = st.builds(
    LayerProgress,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["waiting", "downloading", "downloaded", "extracting", "done"]),
    st.integers(0, 1000),
    st.integers(0, 1000),
)


@given(st.lists(_REPORTS, max_size=60))
def test_pull_progress_never_goes_back(reports: list[LayerProgress]) -> None:
    meter = PullMeter()
    share = 0.0
    for report in reports:
        told = meter.add(report)
        if told is None:
            continue
        assert 0 <= told.current <= told.total
        assert told.current / told.total >= share - 1 / told.total
        share = max(share, told.current / told.total)


def test_pull_progress_ends_full() -> None:
    meter = PullMeter()
    for layer in ("a", "b"):
        meter.add(LayerProgress(layer, "downloading", 10, 100))
    meter.add(LayerProgress("a", "done"))
    told = meter.add(LayerProgress("b", "done"))
    assert told is not None
    assert told.current == told.total == 200


def _answer(**state: object) -> dict[str, object]:
    labels = {"rexec.engine_key": "k", "rexec.enforced": "memory,disk"}
    return {"Id": "1" * 64, "State": state, "Config": {"Labels": labels}, "NetworkSettings": {"Networks": {}}}


def test_a_death_by_memory_is_told_from_a_childs() -> None:
    died = _answer(Status="exited", ExitCode=137, OOMKilled=True, FinishedAt="2026-01-02T03:04:05.123456789Z")
    assert inspected(died).out_of_memory
    assert inspected(died).finished_at == datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
    left = inspected(_answer(Status="exited", ExitCode=0, OOMKilled=True, FinishedAt="0001-01-01T00:00:00Z"))
    assert (left.out_of_memory, left.exit_code, left.finished_at, left.phase) == (False, 0, None, Phase.EXITED)
    assert (left.enforced.memory, left.enforced.cpu, left.enforced.disk) == (True, False, True)


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".bin", "a" * 64, "a b", "-a"])
async def test_keys_that_would_be_paths_are_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        object_name(key)
    with pytest.raises(Invalid):
        await HostFiles(tmp_path, tmp_path / "guest", None).forget(key)


async def test_forgetting_follows_no_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    directory = tmp_path / "guests"
    (directory / "k2").mkdir(parents=True)
    (directory / "k1").symlink_to(kept)
    (directory / "k2" / "link").symlink_to(kept)
    files = HostFiles(directory, tmp_path / "guest", None)
    for key in ("k1", "k2", "k3"):
        await files.forget(key)
    assert (kept / "file").read_text() == "x"
    assert list(directory.iterdir()) == []


def test_messages_lose_the_signatures_of_addresses() -> None:
    assert "secret" not in tell("Get https://blobs.example/x?sig=secret&y=secret: denied")
