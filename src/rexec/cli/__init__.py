"""The command line: `rexec --help`."""
