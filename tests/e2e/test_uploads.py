"""Uploads that are cut, framed wrongly or lie: refused or done, never an internal error, nothing left, nothing lost."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.client import small
from support.server import Served

OLD = b"what was there before"
DEADLINE = 60.0
FINE = {200, 400, 403, 404, 409, 413, 415, 507}
HOSTILE = settings(
    max_examples=120, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

PATHS = st.sampled_from(
    [
        b"/up/old", b"/up/../up/./old", b"/up/deep/er/new", b"/up/old/below", b"/up", b"/up/", b"/", b"", b"old", b"../old",
        b"/up/\x00", b"/up/\xff\n\"'", b"/up/" + b"n" * 255, b"/up/" + b"n" * 256, b"/up/" + b"d/" * 2100, b"/dev/null",
        b"/dev/new", b"/proc/new", b"/proc/self/mem", b"/sys/new", b"/.rexec/new", b"/etc/hosts", b"/proc/1/root/up/old",
    ]
) | st.binary(max_size=20).map(lambda name: b"/up/" + name.replace(b"/", b""))  # fmt: skip
BODIES = st.sampled_from([b"", b"x", b"\r\n", bytes(300_000)]) | st.binary(max_size=200)
ODDITIES = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["644", "0777", "8", "99999", "", "rw"]),
        "user": st.sampled_from(["root", "user", "1000:7", "nobody-such", "-1", "1:2:3", "4294967295", "a" * 65, " "]),
        "mkdirs": st.just("false"),
    },
)
BOUNDARIES = st.sampled_from(
    [b"b", b"-" * 70, b"x" * 257, b"x" * 5000, b"", b"with space", b"\xc3\xa9", b'quo"te', b"a;b=c"]
)
NAMES = st.sampled_from(
    [b"old", b"../old", b"..", b".", b"", b"/etc/x", b"a\\b", b'a"b', b"\xff", b"n" * 300, b"a\x00b"]
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it goes over the wire; `whole` where the server has to answer it, `left` where the client leaves in
    its middle. Otherwise it is whole to who reads it one way, and then the way of the answer is not sure."""

    head: bytes
    body: bytes
    whole: bool
    left: bool

    def __repr__(self) -> str:
        return f"Sent({self.head[:500]!r}, {self.body[:500]!r}, {self.whole}, {self.left})"


@st.composite
def framed(draw: st.DrawFn, body: bytes) -> tuple[bytes, bytes, bool, bool]:
    """A body with a length that is right, one that is not, or chunks that may be neither."""
    length, chunked = b"Content-Length: %d\r\n", b"Transfer-Encoding: chunked\r\n"
    chunks = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    exact = (length % len(body), body, True, False)
    framings = [
        exact, exact, (chunked, chunks + b"0\r\n\r\n", True, False),
        (length % (len(body) // 2), body, False, False), (chunked + length % 3, chunks + b"0\r\n\r\n", False, False),
        (length % (len(body) + 1000), body, False, True), (chunked, chunks, False, True),
        (chunked, chunks + b"what\r\n", False, True), (length % -1, b"", False, True),
        (length % (1 << 30), b"", False, True), (length % (1 << 70), b"", False, True),
        (b"Content-Length: 1e9\r\n", b"", False, True),
    ]  # fmt: skip
    return draw(st.sampled_from(framings))


@st.composite
def puts(draw: st.DrawFn) -> Sent:
    path = draw(PATHS)
    named = draw(
        st.sampled_from([{"path": path}, {"path_b64": base64.b64encode(path)}, {"path_b64": path}, {}, {"path": path, "path_b64": b"*"}])
    )  # fmt: skip
    query = urlencode({**named, **draw(ODDITIES)}, quote_via=quote)
    head, body, *ends = draw(framed(draw(BODIES)))
    return Sent(b"PUT ?%s HTTP/1.1\r\n%s" % (query.encode(), head), body, *ends)


@st.composite
def forms(draw: st.DrawFn) -> Sent:
    boundary = draw(BOUNDARIES)
    disposition = b'Content-Disposition: form-data; name="file"; filename="%s"\r\n' % draw(NAMES)
    parts = [b"--" + boundary + b"\r\n", disposition, b"X: " + b"y" * draw(st.sampled_from([1, 5000, 70_000])) + b"\r\n",
             b"\r\n", draw(BODIES), b"\r\n--" + boundary + b"--\r\n", b'Content-Disposition: form-data; name="a"\r\n']  # fmt: skip
    right = [parts[0], disposition, b"\r\n", draw(BODIES), parts[5]]
    body = b"".join(draw(st.just(right) | st.lists(st.sampled_from(parts), max_size=12)))
    query = urlencode({"path": draw(PATHS)}, quote_via=quote)
    kind = draw(
        st.sampled_from(
            [b"multipart/form-data; boundary=%s", b'multipart/form-data; boundary="%s"', b"multipart/form-data"]
        )
    )
    head, body, *ends = draw(framed(body))
    kind = kind % boundary if b"%" in kind else kind
    return Sent(b"POST ?%s HTTP/1.1\r\nContent-Type: %s\r\n%s" % (query.encode(), kind, head), body, *ends)


@st.composite
def documents(draw: st.DrawFn) -> Sent:
    path = draw(PATHS).decode("utf-8", "surrogateescape")
    content = base64.b64encode(draw(BODIES)).decode()
    wrong: st.SearchStrategy[Any] = st.sampled_from(
        ["*", "YQ", "YQ=", "YQ==YQ==", " YQ==", "Y\nQ==", "\ud800", None, 1, []]
    )
    asked = {"path": path, "content": draw(st.just(content) | wrong)}
    text = json.dumps(asked | draw(st.sampled_from([{}, {"more": 1}, {"path": None}, {"path": ["/up/old"]}]))).encode()
    text = draw(
        st.sampled_from([text, text[:-1], text + text, b"[" * 10_000, b'{"path": "/up/old", ' + text[1:], b"\xff"])
    )
    head, body, *ends = draw(framed(text))
    return Sent(b"POST ? HTTP/1.1\r\nContent-Type: application/json\r\n" + head, body, *ends)


class Target:
    """A container's files, and the wire to them."""

    def __init__(self, served: Served) -> None:
        self.address = served.url.removeprefix("http://")
        self.headers = f"Host: {self.address}\r\nAuthorization: Bearer {served.token}\r\nConnection: close\r\n".encode()
        self.http = httpx2.Client(base_url=served.url, headers=served.api.headers, timeout=DEADLINE)
        made = self.http.post("/api/containers", params={"wait": 90}, json=small())
        assert made.json()["status"] == "running", made.text
        self.at = f"/api/containers/{made.json()['id']}"
        self.http.post(f"{self.at}/files/mkdir", json={"path": "/up"})
        self.restore()

    def restore(self) -> None:
        put = self.http.put(f"{self.at}/files", params={"path": "/up/old"}, content=OLD)
        assert put.status_code == 200, put.text

    def status(self, sent: Sent) -> int | None:
        """Of the answer; None for none."""
        host, _, port = self.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE) as wire:
            method, rest = sent.head.split(b" ", 1)
            wire.sendall(method + b" " + f"{self.at}/files".encode() + rest + self.headers + b"\r\n")
            try:
                wire.sendall(sent.body)
                if sent.left:
                    wire.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            answer = b""
            try:
                while piece := wire.recv(65536):
                    answer += piece
            except OSError:
                pass
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
        return int(found[1]) if found else None

    def judge(self, sent: Sent) -> None:
        status = self.status(sent)
        assert status in FINE or (status is None and not sent.whole), (status, sent)
        content = self.http.get(f"{self.at}/files", params={"path": "/up/old"}).content
        assert content == OLD or status == 200, (status, sent)
        if content != OLD:
            self.restore()
        self.tidy()

    def tidy(self) -> None:
        """Nothing temporary stays, not even for who left in the middle."""
        deadline = time.monotonic() + DEADLINE
        while True:
            listed = self.http.get(f"{self.at}/files/list", params={"path": "/up", "depth": 4}).json()["files"]
            left = [entry["path"] for entry in listed if ".rexec-" in entry["name"]]
            if not left:
                return
            assert time.monotonic() < deadline, left
            time.sleep(0.01)


@pytest.fixture(scope="module")
def target(served: Served) -> Iterator[Target]:
    target = Target(served)
    yield target
    assert target.http.delete(target.at).status_code == 200
    target.http.close()


@given(puts())
@HOSTILE
def test_bodies(target: Target, sent: Sent) -> None:
    target.judge(sent)


@given(forms())
@HOSTILE
def test_forms(target: Target, sent: Sent) -> None:
    target.judge(sent)


@given(documents())
@HOSTILE
def test_documents(target: Target, sent: Sent) -> None:
    target.judge(sent)
