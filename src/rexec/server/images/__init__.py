"""Where container images come from."""

from rexec.server.images.build import Mirrors
from rexec.server.images.downloads import CachedDownloads
from rexec.server.images.source import ImageRules, RegistrySource

__all__ = ["CachedDownloads", "ImageRules", "Mirrors", "RegistrySource"]
