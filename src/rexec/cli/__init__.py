"""The command line: `rexec --help`."""

from rexec.cli.commands import app

__all__ = ["app"]
