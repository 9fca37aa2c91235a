"""Multipart forms, read as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from python_multipart.multipart import MultipartParser, parse_options_header

from rexec.errors import Invalid


class Form:
    """The file of a multipart form, as it comes: nothing is kept."""

    def __init__(self, options: Mapping[bytes, bytes], stream: AsyncIterator[bytes]) -> None:
        """`options` are those of the content type."""
        if not (boundary := options.get(b"boundary", b"")):
            raise Invalid("the form has no boundary")
        self._stream = stream
        self._parts: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value, self._disposition = b"", b"", b""
        self._inside = self._done = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_header_field": self._on_field, "on_header_value": self._on_value,
                    "on_header_end": self._on_header, "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data, "on_part_end": self._on_end,
                },
            )  # fmt: skip
        except ValueError as error:
            raise Invalid(f"the form cannot be read: {error}") from error

    async def filename(self) -> bytes:
        while not self._inside and not self._done:
            await self._feed()
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename", b"").rpartition(b"/")[2]
        if not name:
            raise Invalid("the file has no name, and path names a folder")
        return name

    async def content(self) -> AsyncIterator[bytes]:
        while self._parts or await self._feed():
            if self._parts:
                yield self._parts.pop(0)

    async def _feed(self) -> bool:
        """Whether there was more."""
        async for chunk in self._stream:
            if chunk:
                try:
                    self._parser.write(chunk)
                except ValueError as error:
                    raise Invalid("the body is not a multipart form") from error
                return True
        if not self._done:
            raise Invalid("the form ends within its file" if self._inside else "the form has no file")
        return False

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _on_headers(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        self._headers = {}
        self._inside = b"filename" in disposition
        if self._inside and self._done:
            raise Invalid("the form has more than one file: send them one by one")
        if self._inside:
            self._disposition = disposition

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._parts.append(data[start:end])

    def _on_end(self) -> None:
        self._done = self._done or self._inside
        self._inside = False
