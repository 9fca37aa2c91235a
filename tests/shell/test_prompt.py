"""The prompts' view of a repository: the bundle's zsh and a real git, without a container."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

BUNDLE = Path(__file__).parents[2] / "src/rexec/server/shell"
ASK = """
zmodload zsh/parameter; add-zsh-hook() { : }; source {bundle}/themes/git.zsh
for place in "$@"; do
    cd $place
    _rexec_git || { print none; continue }
    print -rn -- $_rexec_branch,$_rexec_doing,$_rexec_ahead,$_rexec_behind,
    print -r -- $_rexec_staged,$_rexec_changed,$_rexec_unknown,$_rexec_conflicts
done
"""


def git(place: Path, *argv: str, check: bool = True) -> None:
    own = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": str(place)}
    who = [
        "-c",
        "user.name=n",
        "-c",
        "user.email=e@example.com",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "commit.gpgsign=false",
    ]
    subprocess.run(["git", *who, *argv], cwd=place, check=check, capture_output=True, env={**os.environ, **own})


def asked(*places: Path) -> list[str]:
    script = ASK.replace("{bundle}", str(BUNDLE)).replace(
        "zmodload zsh", f"module_path=({BUNDLE}/modules); zmodload zsh", 1
    )
    zsh = [BUNDLE / "lib/ld.so", "--library-path", BUNDLE / "lib", BUNDLE / "bin/zsh", "-fc", script, "zsh"]
    told = subprocess.run([*zsh, *places], check=True, capture_output=True, text=True)
    assert told.stderr == ""
    return told.stdout.split()


def test_branch_and_state(tmp_path: Path) -> None:
    upstream, work, outside = (tmp_path / name for name in ("upstream", "work", "outside"))
    for place in (upstream, outside, upstream / "deep/er"):
        place.mkdir(parents=True)
    (upstream / "file").write_text("one\n")
    git(upstream, "init")
    git(upstream, "add", "file")
    git(upstream, "commit", "-m", "first")
    git(tmp_path, "clone", str(upstream), str(work))
    assert asked(upstream, upstream / "deep/er", outside) == ["main,,0,0,0,0,0,0", "main,,0,0,0,0,0,0", "none"]

    (upstream / "file").write_text("theirs\n")
    git(upstream, "commit", "-am", "second")
    (work / "file").write_text("ours\n")
    git(work, "commit", "-am", "another")
    git(work, "fetch")
    (work / "file").write_text("changed\n")
    (work / "staged").write_text("new\n")
    (work / "unknown 1").write_text("new\n")
    git(work, "add", "staged")
    assert asked(work) == ["main,,1,1,1,1,1,0"]
    git(work, "reset", "--hard")
    git(work, "merge", "origin/main", check=False)
    assert asked(work) == ["main,merge,1,1,0,0,1,1"]
    git(work, "merge", "--abort")
    git(work, "checkout", "--detach")
    assert len(asked(work)[0].split(",")[0]) == 7
