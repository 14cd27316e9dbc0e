# SPDX-License-Identifier: Apache-2.0
"""Key-value stores that belong to the function: every instance of it sees the same ones, and what
`set` has returned from is on the disk of the server."""

import re
import struct

import _kiln

from .wit.imports.key_value import Error_NoSuchStore, Error_Other, Error_StoreTableFull
from .wit.types import Err

GET, SET, DELETE, EXISTS, KEYS = range(1, 6)
OK, NONE, FULL = range(3)

KEY_MAX = 255  # bytes of UTF-8
VALUE_MAX = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def _checked_key(key):
    if not isinstance(key, str):
        raise TypeError(f"a key is a str, not {type(key).__name__}")
    try:
        raw = key.encode()
    except UnicodeEncodeError:
        raise Err(Error_Other("the key has a lone surrogate, which is not UTF-8")) from None
    if not 1 <= len(raw) <= KEY_MAX:
        raise Err(Error_Other(f"a key has 1 to {KEY_MAX} bytes"))
    return raw


def _checked_value(value):
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"a value is of bytes, not {type(value).__name__}")
    value = bytes(value)
    if len(value) > VALUE_MAX:
        raise Err(Error_Other(f"a value has at most {VALUE_MAX} bytes"))
    return value


class Store:
    """An open store; also a context manager."""

    def __init__(self, name):
        self._name = name

    @staticmethod
    def open(label):
        return open(label)

    def _ask(self, op, key=b"", value=b""):
        if self._name is None:
            raise Err(Error_Other("the store is closed"))
        status, rest = _kiln.kv(op, self._name.encode(), key, value)
        if status == FULL:
            raise Err(Error_StoreTableFull())
        if status not in (OK, NONE):
            raise Err(Error_Other(rest.decode("utf-8", "replace")))
        return status == OK, rest

    def get(self, key):
        """The value as bytes, or None."""
        found, value = self._ask(GET, _checked_key(key))
        return value if found else None

    def set(self, key, value):
        self._ask(SET, _checked_key(key), _checked_value(value))

    def delete(self, key):
        """No error where there is no such key."""
        self._ask(DELETE, _checked_key(key))

    def exists(self, key):
        return self._ask(EXISTS, _checked_key(key))[0]

    def get_keys(self):
        """All keys, in the order of their bytes."""
        _, rest = self._ask(KEYS)
        keys, at = [], 0
        while at < len(rest):
            (n,) = struct.unpack_from("<I", rest, at)
            keys.append(rest[at + 4 : at + 4 + n].decode())
            at += 4 + n
        return keys

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._name = None


def open(name):  # noqa: A001 - the name in Spin's documentation
    """The store of that name: each name of letters, digits, '-', '_' and '.' is one."""
    if not isinstance(name, str):
        raise TypeError(f"a store's name is a str, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise Err(Error_NoSuchStore())
    return Store(name)


def open_default():
    return open("default")
