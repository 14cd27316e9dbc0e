# SPDX-License-Identifier: Apache-2.0
"""What the tests of the blue dialect share."""

# The document's own example.
SPIN = """from spin_sdk import http
from spin_sdk.http import Request, Response


class IncomingHandler(http.IncomingHandler):
    def handle_request(self, request: Request) -> Response:
        return Response(
            200,
            {"content-type": "text/plain"},
            bytes("Hello from Blue FaaS!", "utf-8"),
        )
"""


def refused(reply, status, code):
    assert reply.status == status, reply
    assert reply.json["error"] == reply.json["detail"]["error"], reply
    assert reply.json["error"]["code"] == code and reply.json["error"]["message"], reply
    return reply.json["error"]


def wrong(reply):
    """422: where → type, of all that is wrong."""
    assert reply.status == 422, reply
    return {tuple(d["loc"]): d["type"] for d in reply.json["detail"]}
