"""What a request got wrong, in words; what counts as JSON; cursors and filters; settings that are none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rexec.errors import Invalid
from rexec.models import CreateContainer, MakeDirectory, MakeGuest, Renew, RunCommand, SignalProcess
from rexec.server.api import paging
from rexec.server.api.sentences import details, sentence
from rexec.server.api.strict import loads
from rexec.server.settings import read_settings, unknown_variables

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("model", "body", "told"),
    [
        (CreateContainer, {}, "image is required"),
        (CreateContainer, [], "the body must be an object"),
        (CreateContainer, {"image": ""}, "image must not be empty"),
        (CreateContainer, {"image": "d", "memory_mb": True}, "memory_mb must be a whole number"),
        (CreateContainer, {"image": "d", "memory_mb": 512.0}, "memory_mb must be a whole number"),
        (CreateContainer, {"image": "d", "memory_mb": "512"}, "memory_mb must be a whole number"),
        (CreateContainer, {"image": "d", "colour": 1}, "colour is not a key of this request"),
        (CreateContainer, {"image": "d", "name": "a\0"}, "name must not contain NUL or lone surrogates"),
        (CreateContainer, {"image": "d", "name": "\ud800"}, "name must not contain NUL or lone surrogates"),
        (CreateContainer, {"image": "d", "labels": {"a": "\0"}}, "labels must not contain NUL or lone surrogates"),
        (CreateContainer, {"image": "d", "environment": {"A": 1}}, "environment.A must be text"),
        (
            CreateContainer,
            {"image": "d", "name": "-x"},
            "name must have 1 to 64 letters, digits, hyphens or underscores, the first one a letter or digit",
        ),
        (
            CreateContainer,
            {"image": "d", "shell": {"theme": "neon"}},
            "shell.theme must be rexec, minimal or powerlevel10k",
        ),
        (CreateContainer, {"image": "d", "shell": {"theme": "rexec", "shell.theme": "rexec"}}, "gives an option twice"),
        (RunCommand, {"command": 5}, "command must be text or a list"),
        (RunCommand, {"command": ["a", 5]}, "command.1 must be text"),
        (RunCommand, {"command": []}, "command must not be empty"),
        (RunCommand, {"command": "a", "timeout_seconds": 301}, "timeout_seconds must be at most 300"),
        (RunCommand, {"command": "a", "timeout": True}, "timeout must be a number"),
        (SignalProcess, {"signal": 1.5}, "signal must be text or a whole number"),
        (Renew, {"seconds": 0}, "seconds must be at least 1"),
        (MakeGuest, {"username": "a"}, "username must have 2 to 30 letters, digits, underscores or hyphens"),
        (MakeDirectory, {"mode": "9"}, "mode must be three or four octal digits, as 0644"),
    ],
)
def test_a_mistake_is_a_sentence_that_names_its_field(model: type[BaseModel], body: Any, told: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        model.model_validate(body)
    assert told in " · ".join(sentence(detail) for detail in details(wrong.value.errors()))


def test_other_clients_spellings_of_a_command_are_taken() -> None:
    body = {"cmd": ["ls"], "workdir": "/tmp", "timeout_seconds": 5, "env": ["A=b=c"]}
    ours = RunCommand.model_validate(body)
    assert (ours.argv, ours.cwd, ours.timeout, ours.env) == (("ls",), "/tmp", 5, {"A": "b=c"})


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', '{"b": [{"a": 1, "a": 2}]}', "NaN", "[Infinity]", "{", "[" * 100_000, b"\xff", b""]
)
def test_what_is_no_json_or_says_a_thing_twice_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.dictionaries(TEXT, inner)))
def test_all_other_json_is_read_as_it_is(value: Any) -> None:
    assert loads(json.dumps(value).encode()) == value


@given(st.binary() | st.text().map(lambda text: json.dumps([text, text]).encode()))
def test_a_cursor_that_is_none_of_ours_is_refused(data: bytes) -> None:
    for cursor in (data.decode("latin-1"), base64.urlsafe_b64encode(data).decode()):
        with pytest.raises(Invalid):
            paging.before(cursor)


def test_a_cursor_at_the_edge_of_time_is_refused() -> None:
    edge = json.dumps(["0001-01-01T00:00:00+23:59", "550e8400-e29b-41d4-a716-446655440000"])
    with pytest.raises(Invalid):
        paging.before(base64.urlsafe_b64encode(edge.encode()).decode())


def test_labels_must_all_fit() -> None:
    assert paging.labels(["a=b", "c=d=e", "f="]) == {"a": "b", "c": "d=e", "f": ""}
    for wrong in (["a"], ["=b"], ["a=b", "a=c"]):
        with pytest.raises(Invalid):
            paging.labels(wrong)


@pytest.mark.parametrize(
    ("format", "accept", "array"),
    [
        ("array", "", True),
        ("object", "application/json;profile=array", False),
        (None, "application/json;profile=array", True),
        (None, 'text/html, application/json ; q=1 ; profile="array"', True),
        (None, "application/json", False),
        (None, "text/html;profile=array", False),
    ],
)
def test_the_bare_array_is_asked_for(format: str | None, accept: str, array: bool) -> None:
    assert paging.wants_array(format, accept) is array


def test_a_variable_that_is_no_setting_is_told_with_the_nearest_one() -> None:
    good = [
        "REXEC_BIND",
        "rexec_log_level",
        "REXEC_CONFIG",
        "REXEC_TIERS__FREE__CONTAINERS",
        "REXEC_BENCH_IMAGE",
        "PATH",
    ]
    assert unknown_variables(good) == []
    told = unknown_variables([*good, "REXEC_BNID", "REXEC_TEIRS__FREE__CONTAINERS"])
    assert [sentence.split()[-1] for sentence in told] == ["REXEC_BIND", "REXEC_TIERS"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('admin_token = "short"', "rexec: setting admin_token: must be rexec_ and 64 hexadecimal digits"),
        ('bnid = "127.0.0.1:80"', "rexec: setting bnid: there is none of this name; the nearest one is bind"),
        ('bind = "127.0.0.1:99999"', "rexec: setting bind: must be host:port with a port up to 65535"),
        ("bind = ", "rexec: settings: {file}: "),
    ],
)
def test_a_wrong_setting_is_told_by_its_name(
    written: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rexec.toml"
    file.write_text(written)
    monkeypatch.setenv("REXEC_CONFIG", str(file))
    with pytest.raises(Invalid) as wrong:
        read_settings()
    assert wrong.value.message.startswith(told.format(file=file))
