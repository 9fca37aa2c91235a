"""A network and mounts of each test process's own: its daemons, servers and firewall rules meet nobody else's.

Two Docker daemons in one network namespace take each other's firewall rules away when they start, and ports that were
free a moment ago are not. With namespaces each, test files run side by side, beside whatever the machine runs, and what
a killed run had mounted goes with it."""

from __future__ import annotations

import atexit
import ctypes
import os
import secrets
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000


def enter() -> None:
    """Move this process, and all it starts from now on, into namespaces whose way out is the machine's own."""
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "the tests need root, and namespaces")
    _see_own_devices()

    def beyond(*command: str, check: bool = True) -> None:
        nsenter = ["nsenter", f"--net=/proc/self/fd/{outside}", *command]
        subprocess.run(nsenter, check=check, capture_output=True, pass_fds=[outside])

    name = f"rxn{secrets.token_hex(4)}"
    subnet = f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(64) * 4}"
    ours, theirs = _next(subnet, 2), _next(subnet, 1)
    beyond("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(os.getpid()))
    beyond("ip", "address", "add", f"{theirs}/30", "dev", name)
    beyond("ip", "link", "set", name, "up")
    for command in (
        ["link", "set", "lo", "up"],
        ["address", "add", f"{ours}/30", "dev", "eth0"],
        ["link", "set", "eth0", "up"],
        ["route", "add", "default", "via", theirs],
    ):
        _run("ip", *command)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    beyond("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    rules = [
        ["-t", "nat", "POSTROUTING", "-s", f"{subnet}/30", "!", "-o", name, "-j", "MASQUERADE"],
        ["-t", "filter", "FORWARD", "-i", name, "-j", "ACCEPT"],
        ["-t", "filter", "FORWARD", "-o", name, "-j", "ACCEPT"],
    ]
    for _, table, chain, *rule in rules:
        beyond("iptables", "-w", "-t", table, "-I", chain, *rule)

    def leave() -> None:
        for _, table, chain, *rule in rules:
            beyond("iptables", "-w", "-t", table, "-D", chain, *rule, check=False)
        beyond("ip", "link", "delete", name, check=False)

    atexit.register(leave)


def _see_own_devices() -> None:
    """/sys shows the network of the namespace it was mounted in; its control groups stay the machine's."""
    _run("mount", "--make-rslave", "/")
    with TemporaryDirectory() as kept:
        _run("mount", "--rbind", "/sys/fs/cgroup", kept)
        _run("mount", "-t", "sysfs", "sysfs", "/sys")
        _run("mount", "--rbind", kept, "/sys/fs/cgroup")
        _run("umount", "-l", kept)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _next(subnet: str, offset: int) -> str:
    head, _, last = subnet.rpartition(".")
    return f"{head}.{int(last) + offset}"
