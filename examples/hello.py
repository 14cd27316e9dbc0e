# SPDX-License-Identifier: Apache-2.0
"""Greets whoever calls: the smallest Python function."""


def handler(event):
    name = (event.body or {}).get("name", "world")
    print(f"greeting {name}")
    return {"message": f"Hello, {name}!"}
