# SPDX-License-Identifier: Apache-2.0
"""Requests and responses, in and out.

http.client and ssl are imported by the first send(): most functions send nothing. As each request
runs in a process of its own, the process that they are made from is told, and imports them before
it makes the next.
"""

from dataclasses import dataclass
from typing import MutableMapping, Optional
from urllib.parse import urlsplit

import _kiln

from .wit.imports import types as error
from .wit.types import Err

SEND_TIMEOUT_S = 30  # of each step: connecting, each write, each read
SEND_BODY_MAX = 64 << 20  # bytes of a response

_USES_HTTP, _USES_TLS = 1, 2


@dataclass
class Request:
    """A request. `headers` has lower-case names; `uri` is path and query of one that came in."""

    method: str
    uri: str
    headers: MutableMapping[str, str]
    body: Optional[bytes]


@dataclass
class Response:
    """A response. `content-length` is added where it is absent."""

    status: int
    headers: MutableMapping[str, str]
    body: Optional[bytes]


class IncomingHandler:
    """What a function's class IncomingHandler is made from."""

    def handle_request(self, request: Request) -> Response:
        raise NotImplementedError("IncomingHandler has no handle_request()")


# ---- out ----

_tls = None


def prepare(used):
    """In the process that requests are made from: what requests have used so far."""
    global _tls
    if used & _USES_HTTP:
        import http.client  # noqa: F401
    if used & _USES_TLS and _tls is None:
        import ssl

        _tls = ssl.create_default_context()


def _connection(uri):
    import http.client

    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise Err(error.ErrorCode_HttpRequestUriInvalid())
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    used = _USES_HTTP
    if parts.scheme == "https":
        used |= _USES_TLS
        prepare(used)
        made = http.client.HTTPSConnection(host, port, timeout=SEND_TIMEOUT_S, context=_tls)
    else:
        made = http.client.HTTPConnection(host, port, timeout=SEND_TIMEOUT_S)
    _kiln.used(used)
    return made, target


def _write(connection, request, target):
    headers = {str(k).lower(): v for k, v in (request.headers or {}).items()}
    body = request.body if request.body is None else bytes(request.body)
    connection.putrequest(
        request.method, target, skip_host="host" in headers, skip_accept_encoding=True
    )
    if "transfer-encoding" in headers:  # the body's length is known: it frames it
        del headers["transfer-encoding"]
    if body is not None or request.method.upper() in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(len(body or b""))
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body or None)


def _read(connection):
    response = connection.getresponse()
    headers = {}
    for name, value in response.getheaders():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    body = response.read(SEND_BODY_MAX + 1)
    if len(body) > SEND_BODY_MAX:
        raise Err(error.ErrorCode_HttpResponseBodySize())
    if response.length:  # bytes that were announced and did not come
        raise Err(error.ErrorCode_ConnectionTerminated())
    return Response(response.status, headers, body)


def _explain(e):
    import http.client
    import socket

    if isinstance(e, socket.gaierror):
        return error.ErrorCode_DnsError(str(e))
    if isinstance(e, TimeoutError):
        return error.ErrorCode_ConnectionTimeout()
    if isinstance(e, (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected,
                      http.client.IncompleteRead)):
        return error.ErrorCode_ConnectionTerminated()
    if isinstance(e, ConnectionRefusedError):
        return error.ErrorCode_ConnectionRefused()
    if type(e).__name__ == "SSLCertVerificationError":
        return error.ErrorCode_TlsCertificateError(str(e))
    if type(e).__module__ == "ssl":
        return error.ErrorCode_TlsProtocolError(str(e))
    if isinstance(e, http.client.InvalidURL):
        return error.ErrorCode_HttpRequestUriInvalid()
    if isinstance(e, http.client.HTTPException):
        return error.ErrorCode_HttpProtocolError(str(e))
    return error.ErrorCode_InternalError(str(e))


def send(request: Request) -> Response:
    """One request over the function's network. A redirect is a response like any other. Raises Err
    with one of wit.imports.types."""
    import http.client

    if not isinstance(request.method, str) or not isinstance(request.uri, str):
        raise TypeError("method and uri of a request are str")
    if not request.method.isascii() or not request.method.replace("-", "").isalnum():
        raise Err(error.ErrorCode_HttpRequestMethodInvalid())
    connection = None
    try:
        try:
            connection, target = _connection(request.uri)
            connection.connect()
        except ValueError as e:  # a host that is none
            raise Err(error.ErrorCode_HttpRequestUriInvalid()) from e
        try:
            _write(connection, request, target)
            return _read(connection)
        except TimeoutError:
            raise Err(error.ErrorCode_ConnectionReadTimeout()) from None
        except (ValueError, TypeError) as e:  # a header with a line break, a body that is no bytes
            raise Err(error.ErrorCode_HttpRequestHeaderSectionSize()) from e
    except (OSError, http.client.HTTPException) as e:
        raise Err(_explain(e)) from e
    finally:
        if connection is not None:
            connection.close()


async def send_async(request: Request) -> Response:
    """The same while other tasks of the request go on."""
    import asyncio

    return await asyncio.to_thread(send, request)
