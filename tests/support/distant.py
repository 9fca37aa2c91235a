"""A Docker Engine that is reached over the network alone: it sees none of our files and none of our network devices."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp

from support.daemon import Daemon, disk, ended, started

_PORT = 2375
_SCRIPT = """
set -e
mount --bind "$1" /mnt
for place in /run /tmp /var/tmp; do mount -t tmpfs none "$place"; done
read -r go
exec dockerd --tls=false --host "tcp://$2:{port}" --data-root /mnt --bip 10.99.255.1/24 --registry-mirror http://127.0.0.1:9 \
    --default-address-pool base=10.99.0.0/16,size=24
"""


@contextmanager
def distant_daemon() -> Iterator[Daemon]:
    place = Path(mkdtemp(prefix="rexec-docker-", dir="/var/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        root = stack.enter_context(disk(place))
        subnet = f"198.19.{secrets.randbelow(256)}"
        log = stack.enter_context((place / "dockerd.log").open("wb"))
        script = _SCRIPT.format(port=_PORT)
        process = subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", script, "dockerd", str(root), f"{subnet}.2"],
            stdin=subprocess.PIPE, stdout=log, stderr=log,
        )  # fmt: skip
        stack.callback(ended, process)
        _cable(process.pid, subnet)
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
        url = f"tcp://{subnet}.2:{_PORT}"
        started(url, process, place / "dockerd.log")
        yield Daemon(url, root)
        subprocess.run(
            f"docker -H {url} ps -aq | xargs -r docker -H {url} rm -f", shell=True, check=False, capture_output=True
        )


def _cable(pid: int, subnet: str) -> None:
    """Between our network and the one of `pid`, once it has one of its own."""
    ours = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{pid}/ns/net").readlink() == ours:
        pass
    name = f"rxw{secrets.token_hex(4)}"
    there = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    for command in (
        ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid)],
        ["ip", "address", "add", f"{subnet}.1/24", "dev", name],
        ["ip", "link", "set", name, "up"],
        [*there, "ip", "link", "set", "lo", "up"],
        [*there, "ip", "address", "add", f"{subnet}.2/24", "dev", "eth0"],
        [*there, "ip", "link", "set", "eth0", "up"],
        [*there, "ip", "route", "add", "default", "via", f"{subnet}.1"],
    ):
        subprocess.run(command, check=True, capture_output=True)
