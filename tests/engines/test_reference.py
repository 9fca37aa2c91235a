"""What is a valid image reference, and which ones a user may ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexec.errors import Invalid
from rexec.server.ports.addresses import is_internal
from rexec.server.ports.reference import allowed, parse

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:bookworm", "docker.io/library/debian:bookworm", "debian:bookworm"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("grafana/grafana:11", "docker.io/grafana/grafana:11", "grafana/grafana:11"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"),
        ("quay.io/a/b", "quay.io/a/b:latest", "quay.io/a/b:latest"),
        ("GHCR.io/a/b", "GHCR.io/a/b:latest", "GHCR.io/a/b:latest"),
        ("[2001:db8::1]:5000/a:b", "[2001:db8::1]:5000/a:b", "[2001:db8::1]:5000/a:b"),
        (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}", f"debian@{DIGEST}"),
        (f"debian:12@{DIGEST}", f"docker.io/library/debian:12@{DIGEST}", f"debian:12@{DIGEST}"),
        ("a__b/c---d.e_f", "docker.io/a__b/c---d.e_f:latest", "a__b/c---d.e_f:latest"),
    ],
)
def test_parse(text: str, full: str, familiar: str) -> None:
    reference = parse(text)
    assert str(reference) == full
    assert reference.familiar == familiar
    assert parse(familiar) == reference


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "Debian", "debian:", "debian:-x", "debian@", "debian@sha256:abc", "a//b", "/a", "a/", "a:b:c", "a b",
        "host:99999/a", "host:0/a", "-a.io/b", "a/b_", "http://a/b", "a..b", "ü/b", "a\n", "a@b@c", "x" * 300,
        "debian:" + "t" * 129, "[::1/a", "deb\x00ian", f"debian@{DIGEST}0", "../a", "a/../b", "a.io:/b",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert caught.value.code == "invalid_reference"


@given(st.text(max_size=60) | st.from_regex(r"[a-zA-Z0-9:/@._\[\]-]{0,60}", fullmatch=True))
def test_parse_never_fails_otherwise_and_is_stable(text: str) -> None:
    try:
        reference = parse(text)
    except Invalid:
        return
    assert parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "rexec.local/plain:abc", "REXEC.local/x", "rexec.local:80/x", "localhost/x", "localhost:5000/x",
        "127.0.0.1:5000/x", "10.0.0.1/x", "192.168.1.1:443/x", "169.254.169.254/x", "[::1]:5000/x", "[fd00::1]/x",
        "[fe80::1]/x",
        "[::ffff:127.0.0.1]/x", "0.0.0.0/x", "127.1/x", "registry.localhost/x",
    ],
)  # fmt: skip
def test_internal_registries_and_our_own_names_are_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        allowed(text)
    assert caught.value.code == "image_refused"


def test_a_setting_allows_an_internal_registry() -> None:
    assert allowed("10.0.0.1:5000/x", ("10.0.0.1:5000",)).host == "10.0.0.1"
    assert allowed("127.0.0.1/x", ("*",)).host == "127.0.0.1"
    with pytest.raises(Invalid):
        allowed("rexec.local/x", ("*",))


def test_documentation_ranges_are_not_internal() -> None:
    assert not any(is_internal(text) for text in ("192.0.2.1", "198.51.100.7", "203.0.113.80", "8.8.8.8"))
    assert all(is_internal(text) for text in ("100.64.0.1", "172.31.0.1", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"))
