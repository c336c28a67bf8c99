"""The form of a request: read into memory, never to disk, and no further than the limit."""

import os
import sys
from collections.abc import AsyncGenerator

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from synthgate.errors import ParamsError
from synthgate.serving.intake import Refused, check_channels

LIMIT = "SYNTHGATE_MAX_MB"
PARTS = 64
"""Parts of a form that are read before the request is refused."""


def most_bytes() -> int:
    """Limit of a request's body, and of its unpacked voxels: SYNTHGATE_MAX_MB (default 512); raises ParamsError."""
    text = os.environ.get(LIMIT, "512")
    if not text.isdigit() or int(text) < 1:
        raise ParamsError(f"{LIMIT} must be a whole number of megabytes, at least 1, got {text!r}")
    return int(text) * 1_000_000


class _InMemory(MultiPartParser):
    """Starlette's parser, which would write files above 1 MB to disk."""

    spool_max_size = sys.maxsize


async def read_form(request: Request, channels: tuple[str, ...], most: int) -> dict[str, bytes]:
    """The files of a multipart request by channel; raises Refused (400, 413, 415)."""
    form = "multipart/form-data with " + f"one NIfTI file for each of {', '.join(channels)}"
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise Refused("the request is not multipart/form-data", form, "send each channel as a form file", 415)

    def too_large() -> Refused:
        told = "send a smaller volume, or raise SYNTHGATE_MAX_MB where the service runs"
        return Refused("the request is too large", f"at most {most / 1e6:.0f} MB", told, 413)

    async def bounded() -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise too_large()
            yield chunk

    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > most:
        raise too_large()
    try:
        parsed = await _InMemory(request.headers, bounded(), max_files=PARTS, max_fields=PARTS).parse()
    except MultiPartException as error:
        raise Refused(f"the form cannot be read: {error.message}", form, "send it again") from error
    try:
        items = parsed.multi_items()
        check_channels([name for name, _ in items], channels)
        for name, part in items:
            if isinstance(part, str):
                raise Refused(f"{name} is text", form, "send it as a file (with a file name)")
        return {name: await part.read() for name, part in items if not isinstance(part, str)}
    finally:
        await parsed.close()
