"""The firewall's text: what it closes, what it leaves open."""

import shutil
import subprocess

import pytest

from rexec.errors import Invalid
from rexec.server.engines.docker.rules import NetworkRules, iptables_script, nft_bridge_script, nft_script

RULES = NetworkRules(allow=("10.1.0.0/16", "fd00:1::/64"))


def test_holes_come_before_the_closed_ranges() -> None:
    lines = nft_script("rexec_x", "rx-x", RULES, ["10.2.0.53", "fd00::53"]).splitlines()
    closing = next(number for number, line in enumerate(lines) if "ip daddr {" in line and "reject" in line)
    for hole in ("ip daddr 10.1.0.0/16 accept", "ip6 daddr fd00:1::/64 accept", "ip daddr 10.2.0.53/32 meta l4proto"):
        assert any(hole in line for line in lines[:closing])
    assert "203.0.113" not in "\n".join(lines)
    assert "192.0.2" not in "\n".join(lines)


def test_iptables_rules_are_apart_for_each_version() -> None:
    four = iptables_script("rexec_x", "rx-x", RULES, ["10.2.0.53", "fd00::53"], version=4)
    six = iptables_script("rexec_x", "rx-x", RULES, ["10.2.0.53", "fd00::53"], version=6)
    assert "10.1.0.0/16" in four
    assert "fd00" not in four
    assert "fd00:1::/64" in six
    assert "10." not in six


@pytest.mark.parametrize(
    ("program", "arguments", "text"),
    [
        ("nft", ["-c", "-f", "-"], nft_script("rexec_check", "rx-check", RULES, ["10.2.0.53", "fd00::53"])),
        ("iptables-restore", ["--test", "--noflush"], iptables_script("c", "rx-c", RULES, ["10.2.0.53"], version=4)),
        ("ip6tables-restore", ["--test", "--noflush"], iptables_script("c", "rx-c", RULES, ["fd00::53"], version=6)),
    ],
)
def test_the_programs_accept_it(program: str, arguments: list[str], text: str) -> None:
    path = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([path, *arguments], input=text.encode(), capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_bridge_rules_drop_frames_between_ports() -> None:
    text = nft_bridge_script("rexec_x", "rx-x")
    assert 'meta ibrname "rx-x" drop' in text
    assert 'meta obrname "rx-x" drop' in text


@pytest.mark.parametrize("rules", [{"allow": ("nonsense",)}, {"resolvers": ("10.0.0.0/8",)}, {"subnet": "10.0.0.1/8"}])
def test_nonsense_is_refused(rules: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(Invalid):
        NetworkRules(**rules)  # type: ignore[arg-type]
