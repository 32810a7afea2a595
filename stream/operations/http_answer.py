"""From the bytes of an HTTP request to the bytes of its response. Source: RFC 9112."""

import ipaddress
import logging
from http import HTTPStatus
from typing import Final

from .pages import Page, Pages

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES: Final = 8192
END: Final = b"\r\n\r\n"
_METHODS: Final = ("GET", "HEAD")


def answer(request: bytes, pages: Pages, *, loopback: bool) -> bytes:
    """The whole response to a request, or to what was received of one that is too long.

    loopback: only this machine can reach the server; then a request in another machine's name is refused.
    """
    if END not in request:
        return _response(_refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
    first, *headers = request.partition(END)[0].decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, protocol = rest.partition(" ")
    if not protocol.startswith("HTTP/1."):
        return _response(_refusal(HTTPStatus.BAD_REQUEST))
    if method not in _METHODS:
        return _response(_refusal(HTTPStatus.METHOD_NOT_ALLOWED))
    if loopback and not _asks_for_this_machine(headers):
        return _response(_refusal(HTTPStatus.FORBIDDEN))
    return _response(_page(target.partition("?")[0], pages), with_body=method != "HEAD")


def _page(path: str, pages: Pages) -> Page:
    if path not in pages:
        return _refusal(HTTPStatus.NOT_FOUND)
    try:
        return pages[path]()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a page, the node goes on
        log.error("the page %s cannot be made (%s)", path, type(error).__name__)
        return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


def _asks_for_this_machine(headers: list[str]) -> bool:
    """Whether the `Host`, where there is one, is an address or `localhost`.

    Another name may be one that a web page has pointed here, so that a browser reads for it what is not for it.
    """
    fields = (header.partition(":") for header in headers)
    return all(_is_address(value.strip()) for name, _, value in fields if name.lower() == "host")


def _is_address(host: str) -> bool:
    bracketed, _, port = host.rpartition(":")
    name = bracketed if bracketed and port.isdecimal() else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name == "localhost"
    return True


def _refusal(status: HTTPStatus) -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{status.phrase}\n".encode())


def _response(page: Page, *, with_body: bool = True) -> bytes:
    head = [
        f"HTTP/1.1 {page.status:d} {HTTPStatus(page.status).phrase}",
        f"Content-Type: {page.type}",
        f"Content-Length: {len(page.body)}",
        f"Allow: {', '.join(_METHODS)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join(head).encode() + END + (page.body if with_body else b"")
