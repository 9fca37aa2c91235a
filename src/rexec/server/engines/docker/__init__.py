"""Containers on a Docker Engine."""

from rexec.server.engines.docker.engine import DockerEngine
from rexec.server.engines.docker.rules import NetworkRules

__all__ = ["DockerEngine", "NetworkRules"]
