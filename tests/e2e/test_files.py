"""Files, watches, ports and stats over the API, on an image with everything, a small one and one with one program."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets import ConnectionClosed

from support import images
from support.client import Api
from support.server import Served

IMAGES = {
    "debian": {"image": images.DEBIAN},
    "alpine": {"image": images.ALPINE},
    "static": {"image": "custom", "custom_image": images.STATIC},
}
ODD = b"/home/user/ a\n\"b'\xff;\\&%41.txt"


class Files:
    """The files of one container."""

    def __init__(self, api: Api, container: dict[str, Any]) -> None:
        self.api, self.http = api, api.http
        self.at = f"/api/containers/{container['id']}/files"
        self.id = container["id"]

    async def put(self, path: str, content: bytes, **query: str) -> dict[str, Any]:
        answer = await self.http.put(self.at, params={"path": path, **query}, content=content)
        assert answer.status_code == 200, answer.text
        entry: dict[str, Any] = answer.json()
        return entry

    async def get(self, path: str, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.get(self.at, params={"path": path}, headers=named)

    async def stat(self, path: str) -> Any:
        return (await self.http.get(f"{self.at}/stat", params={"path": path})).json()


@pytest.fixture(scope="module", params=IMAGES)
async def files(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[Files]:
    async with served.api.container(**IMAGES[request.param], disk_mb=1024) as container:
        yield Files(served.api, container)


async def test_any_name_goes_both_ways(files: Files) -> None:
    encoded = {"path_b64": base64.b64encode(ODD).decode()}
    content = os.urandom(3_000_000)
    put = await files.http.put(files.at, params=encoded, content=content)
    assert put.status_code == 200, put.text
    assert base64.b64decode(put.json()["path_b64"]) == ODD
    got = await files.http.get(files.at, params=encoded)
    assert got.content == content
    assert "\n" not in got.headers["content-disposition"]
    assert got.headers["content-disposition"].startswith("attachment; filename*=UTF-8''%20a%0A%22b%27")
    listed = (await files.http.get(f"{files.at}/list", params={"path": "/home/user"})).json()
    assert [base64.b64decode(entry["name_b64"]) for entry in listed["files"]] == [ODD.rpartition(b"/")[2]]
    assert (await files.http.delete(files.at, params=encoded)).status_code == 200
    assert (await files.http.get(files.at, params=encoded)).status_code == 404


async def test_ranges(files: Files) -> None:
    content = os.urandom(100_000)
    await files.put("/tmp-range", content)
    for wanted, piece in (("0-9", content[:10]), ("99990-", content[-10:]), ("-5", content[-5:])):
        got = await files.get("/tmp-range", Range=f"bytes={wanted}")
        assert (got.status_code, got.content) == (206, piece)
        first = 100_000 - len(piece) if wanted != "0-9" else 0
        assert got.headers["content-range"] == f"bytes {first}-{first + len(piece) - 1}/100000"
    for wanted in ("100000-", "-0", "9-5"):
        refused = await files.get("/tmp-range", Range=f"bytes={wanted}")
        assert (refused.status_code, refused.json()["code"]) == (416, "range_not_satisfiable")
        assert (refused.headers["content-range"], refused.json()["size"]) == ("bytes */100000", 100_000)
    # What is no range of bytes is not obeyed.
    assert (await files.get("/tmp-range", Range="lines=1-2")).content == content
    # Nor is one of what the file was.
    tag = (await files.get("/tmp-range")).headers["etag"]
    assert (await files.get("/tmp-range", Range="bytes=1-1", If_Range=tag)).content == content[1:2]
    await files.put("/tmp-range", content)
    assert (await files.get("/tmp-range", Range="bytes=1-1", If_Range=tag)).status_code == 200


async def test_the_head_of_a_download(files: Files) -> None:
    for content in (b"12345", b"", bytes(1 << 20)):
        await files.put("/head.txt", content)
        got = await files.get("/head.txt")
        head = await files.http.head(files.at, params={"path": "/head.txt"}, headers={"Range": "bytes=0-1"})
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))
        same = ("accept-ranges", "etag", "content-type", "content-length", "content-disposition")
        assert {name: head.headers[name] for name in same} == {name: got.headers[name] for name in same}
    assert "content-length" not in (await files.http.head(files.at, params={"path": "/proc/self/status"})).headers
    for path, status in (("/nowhere", 404), ("/etc", 409), ("relative", 400)):
        assert (await files.http.head(files.at, params={"path": path})).status_code == status


async def test_forms_and_json(files: Files) -> None:
    form = {"file": ('name with "quotes".bin', b"\x00\xff" * 1000)}
    sent = await files.http.post(files.at, params={"path": "/home/user/"}, files=form)
    assert sent.status_code == 200, sent.text
    assert sent.json()["size"] == 2000
    assert (await files.get(sent.json()["path"])).content == b"\x00\xff" * 1000
    for escape in ("../../escaped", "/etc/escaped"):
        sent = await files.http.post(files.at, params={"path": "/home/user/"}, files={"file": (escape, b"x")})
        assert sent.json()["path"] == "/home/user/escaped"
    large = os.urandom(2 << 20)
    body = {"path": "/home/user/json", "content": base64.b64encode(large).decode()}
    sent = await files.http.post(files.at, json=body)
    assert sent.status_code == 200, "a JSON upload has the upload's limit, not the body's"
    assert (await files.get("/home/user/json")).content == large
    for wrong in ({"path": "/x"}, {"path": "/x", "content": "*"}, {"path": "x", "content": ""}):
        assert (await files.http.post(files.at, json=wrong)).status_code == 400
    assert (await files.http.post(files.at, content=b"x", headers={"Content-Type": "text/plain"})).status_code == 415


async def test_a_replaced_file_keeps_its_owner_and_mode(files: Files) -> None:
    first = await files.put("/home/user/kept", b"old", mode="4750", user="1000:7")
    assert (first["mode"], first["uid"], first["gid"]) == ("4750", 1000, 7)
    again = await files.put("/home/user/kept", b"new")
    assert (again["mode"], again["uid"], again["gid"]) == ("4750", 1000, 7)
    assert (await files.get("/home/user/kept")).content == b"new"
    other = await files.put("/home/user/kept", b"newer", user="0:0", mode="600")
    assert (other["mode"], other["uid"], other["gid"]) == ("0600", 0, 0)


async def test_links_are_shown_and_lead_nowhere_when_deleted(files: Files) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, target in (("link", "real"), ("up", "../../../../etc"), ("loop", "loop")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
        entry = tarfile.TarInfo("real/file")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"real"))
    unpacked = await files.http.put(f"{files.at}/archive", params={"path": "/links"}, content=archive.getvalue())
    assert unpacked.status_code == 200, unpacked.text
    shown = await files.stat("/links/link")
    assert (shown["type"], shown["target"], shown["is_dir"]) == ("symlink", "real", False)
    assert (await files.get("/links/link/file")).content == b"real"
    assert (await files.get("/links/loop")).status_code in {400, 404, 409}
    assert (await files.http.delete(files.at, params={"path": "/links/link"})).status_code == 200
    assert (await files.get("/links/real/file")).content == b"real"
    back = await files.http.get(f"{files.at}/archive", params={"path": "/links"})
    with tarfile.open(fileobj=io.BytesIO(back.content)) as tar:
        assert {entry.name: entry.linkname for entry in tar if entry.issym()} == {
            "links/up": "../../../../etc", "links/loop": "loop",
        }  # fmt: skip
    moved = await files.http.post(f"{files.at}/move", json={"from": "/links", "to": "/moved"})
    assert moved.status_code == 200, moved.text
    assert (await files.http.delete(files.at, params={"path": "/moved"})).status_code == 200
    assert (await files.get("/moved/real/file")).status_code == 404
    assert (await files.stat("/etc"))["is_dir"]


async def test_an_archive_cannot_leave_its_folder(files: Files) -> None:
    for names in (["../out"], ["/../../out"], ["a", "a/out"]):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in names:
                entry = tarfile.TarInfo(name)
                if name == "a":
                    entry.type, entry.linkname = tarfile.SYMTYPE, "/"
                tar.addfile(entry)
        sent = await files.http.put(f"{files.at}/archive", params={"path": "/jail"}, content=archive.getvalue())
        assert sent.status_code == 400, (names, sent.text)
        assert (await files.get("/out")).status_code == 404


async def test_a_full_disk_leaves_the_old_file(files: Files) -> None:
    """/dev/shm is a disk of 64 MiB in every container."""
    await files.put("/dev/shm/file", b"old")
    full = await files.http.put(files.at, params={"path": "/dev/shm/file"}, content=bytes(70 << 20))
    assert (full.status_code, full.json()["code"]) == (507, "disk_full")
    assert (await files.get("/dev/shm/file")).content == b"old"
    # So it does for what is moved there, which stays where it was.
    await files.put("/home/user/large", bytes(70 << 20), user="1000:7", mode="640")
    for _ in range(2):
        moving = {"from": "/home/user/large", "to": "/dev/shm/file", "overwrite": True}
        full = await files.http.post(f"{files.at}/move", json=moving)
        assert (full.status_code, full.json()["code"]) == (507, "disk_full")
    assert (await files.get("/dev/shm/file")).content == b"old"
    assert (await files.stat("/home/user/large"))["size"] == 70 << 20
    listed = (await files.http.get(f"{files.at}/list", params={"path": "/dev/shm"})).json()["files"]
    assert [entry["name"] for entry in listed] == ["file"]
    moved = await files.http.post(f"{files.at}/move", json={"from": "/dev/shm/file", "to": "/home/user/large/x"})
    assert moved.status_code == 409, moved.text
    back = {"from": "/dev/shm/file", "to": "/home/user/large", "overwrite": True}
    assert (await files.http.post(f"{files.at}/move", json=back)).status_code == 200
    assert (await files.get("/home/user/large")).content == b"old"
    assert (await files.get("/dev/shm/file")).status_code == 404


async def test_changes_are_told_both_ways(files: Files) -> None:
    await files.http.post(f"{files.at}/mkdir", json={"path": "/watched/deep"})

    async def events() -> list[tuple[str, dict[str, Any]]]:
        """To their end, which is told."""
        seen: list[tuple[str, dict[str, Any]]] = []
        async with files.http.stream("GET", f"{files.at}/watch", params={"path": "/watched"}) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    seen.append((event, json.loads(line.removeprefix("data: "))))
                    if seen[-1][1]["type"] == "ready":
                        ready.set()
        return seen

    ready = asyncio.Event()
    messages = []
    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(events())
        async with files.api.connect(f"{files.at}/watch?path=/watched") as socket:
            assert json.loads(await socket.recv())["type"] == "ready"
            await ready.wait()
            await files.put("/watched/deep/er/new", b"x")
            await files.http.delete(files.at, params={"path": "/watched/deep/er/new"})
            await files.http.delete(files.at, params={"path": "/watched"})
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    messages.append(json.loads(await socket.recv()))
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "deleted")
    told = telling.result()
    assert told[-1] == ("end", messages[-1]) == ("end", {"type": "end", "reason": "deleted"})
    for seen in (messages, [change for _, change in told]):
        changes = [(change["type"], change.get("path")) for change in seen]
        assert ("delete", "/watched/deep/er/new") in changes
        assert "/watched/deep/er/new" in {path for kind, path in changes if kind in ("create", "move")}
        assert changes[-2] == ("delete", "/watched")
    # All of it can be watched: what the kernel makes up is left out.
    async with files.api.connect(f"{files.at}/watch?path=/") as socket, asyncio.timeout(60):
        assert json.loads(await socket.recv())["type"] == "ready"
        made = await files.http.post(
            f"{files.at}/mkdir", params={"path_b64": base64.b64encode(b"/home/user/\xfe").decode()}
        )
        assert base64.b64decode(made.json()["path_b64"]) == b"/home/user/\xfe"
        while json.loads(await socket.recv()).get("path_b64") != made.json()["path_b64"]:
            pass
    missing = await files.http.get(f"{files.at}/watch", params={"path": "/nowhere"})
    assert missing.status_code == 404


async def test_who_reads_slowly_is_told_what_was_lost(served: Served) -> None:
    """And holds nothing up, in the server or in the container."""
    command = "for (1..40000) { open(F, '>', ('n' x 200) . $_); close F; unlink(('n' x 200) . $_) }"
    async with served.api.container() as container:
        at = f"/api/containers/{container['id']}/files/watch?path=/home/user"
        async with served.api.connect(at, max_queue=1, close_timeout=1) as socket, asyncio.timeout(120):
            assert json.loads(await socket.recv())["type"] == "ready"
            before = served.resident_mib()
            await served.api.exec(container["id"], ["perl", "-e", command], cwd="/home/user", timeout=100)
            assert served.resident_mib() - before < 32
            while json.loads(await socket.recv())["type"] != "overflow":
                pass
            await served.api.exec(container["id"], "mkdir -p new/er; echo > new/er/file", cwd="/home/user")
            while json.loads(await socket.recv()).get("path") != "/home/user/new/er/file":
                pass


async def test_stats_are_the_containers_own(files: Files, served: Served) -> None:
    stats = (await files.http.get(f"/api/containers/{files.id}/stats")).json()
    assert stats["memory_limit"] == 256 << 20
    assert 0 < stats["memory"] <= stats["memory_limit"]
    assert stats["memory_peak"] >= stats["memory"] or stats["memory_peak"] == -1
    assert 0 < stats["pids"] <= stats["pids_limit"]
    assert stats["cpu_usage_ns"] > 0
    assert stats["disk_usage"] > 0
    assert stats["net_rx"] >= 0
    await files.put("/dev/shm/counted", bytes(40 << 20))
    more = (await files.http.get(f"/api/containers/{files.id}/stats")).json()
    assert more["memory"] - stats["memory"] > 20 << 20
    assert more["cpu_usage_ns"] > stats["cpu_usage_ns"]
    at = f"/api/containers/{files.id}/stats/stream"
    async with files.http.stream("GET", at, params={"interval": 0.5}) as live:
        told = 0
        async for line in live.aiter_lines():
            told += line.startswith("data: ")
            if told == 2:
                break
    # It ends when its reader leaves.
    async with asyncio.timeout(60):
        while not served.logged(path=f'"{at}"', event='"event": "request"'):
            await asyncio.sleep(0.05)


async def test_holes_cost_nothing_and_the_disk_has_an_end(served: Served) -> None:
    async with served.api.container(disk_mb=1024) as container:
        files = Files(served.api, container)
        await served.api.exec(container["id"], "mkdir /holes; truncate -s 1T /holes/sparse; printf end >>/holes/sparse")
        end = await files.get("/holes/sparse", Range=f"bytes={(1 << 40) - 2}-")
        assert (end.status_code, end.content) == (206, b"\0\0end")
        assert (await files.stat("/holes/sparse"))["size"] == (1 << 40) + 3
        packed = (await files.http.get(f"{files.at}/archive", params={"path": "/holes"})).content
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            assert tar.getmember("holes/sparse").size == (1 << 40) + 3
        await files.put("/packed.tar", packed)
        unpack = "tar -xf packed.tar -C /tmp && stat -c %s /tmp/holes/sparse && tail -c 3 /tmp/holes/sparse"
        unpacked = await served.api.exec(container["id"], unpack, cwd="/")
        assert unpacked["stdout"] == f"{(1 << 40) + 3}\nend", unpacked
        # The disk that is the container's own has an end, too.
        await files.put("/kept", b"old")
        await served.api.exec(container["id"], "for n in 512 256 128 64 32 16 8 4; do fallocate -l ${n}M /full$n; done")
        full = await files.http.put(files.at, params={"path": "/kept"}, content=os.urandom(64 << 20))
        assert (full.status_code, full.json()["code"]) == (507, "disk_full")
        assert (await files.get("/kept")).content == b"old"
        assert (await served.api.exec(container["id"], "ls -a / | grep -c .rexec-"))["stdout"] == "0\n"
