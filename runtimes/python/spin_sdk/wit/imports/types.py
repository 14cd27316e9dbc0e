# SPDX-License-Identifier: Apache-2.0
"""How an outbound request fails."""

from ..types import Kind, Text


class ErrorCode_DnsError(Text):
    """The host's name has no address."""


class ErrorCode_ConnectionRefused(Kind):
    """Nobody listens there, or the network of the function does not lead there."""


class ErrorCode_ConnectionTimeout(Kind):
    """The other side does not take the connection."""


class ErrorCode_ConnectionReadTimeout(Kind):
    """The other side does not answer."""


class ErrorCode_ConnectionTerminated(Kind):
    """The other side ended the connection in the middle."""


class ErrorCode_TlsCertificateError(Text):
    """The other side's certificate is not to be trusted."""


class ErrorCode_TlsProtocolError(Text):
    """The other side does not speak TLS as it should."""


class ErrorCode_HttpRequestMethodInvalid(Kind):
    """The method is no token."""


class ErrorCode_HttpRequestUriInvalid(Kind):
    """The URI is no absolute http or https URI."""


class ErrorCode_HttpRequestHeaderSectionSize(Kind):
    """A header has a line break or is no text."""


class ErrorCode_HttpResponseBodySize(Kind):
    """The response is too large."""


class ErrorCode_HttpProtocolError(Text):
    """What came is no HTTP."""


class ErrorCode_InternalError(Text):
    """Anything else."""
