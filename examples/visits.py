# SPDX-License-Identifier: Apache-2.0
"""Counts its visitors: a function in Spin's format, with the key-value store that it has."""

from spin_sdk import http, key_value
from spin_sdk.http import Request, Response


class IncomingHandler(http.IncomingHandler):
    def handle_request(self, request: Request) -> Response:
        name = (request.body or b"somebody").decode()
        with key_value.open_default() as store:
            count = int(store.get("count") or b"0") + 1
            store.set("count", str(count).encode())
        print(f"visit {count} is of {name}")
        return Response(200, {"content-type": "text/plain"}, f"Hello {name}, visitor {count}\n".encode())
