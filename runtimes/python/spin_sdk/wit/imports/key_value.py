# SPDX-License-Identifier: Apache-2.0
"""How operations on a key-value store fail."""

from ..types import Kind, Text


class Error_StoreTableFull(Kind):
    """Too many keys, or too many bytes, are kept already."""


class Error_NoSuchStore(Kind):
    """No store can be called that."""


class Error_AccessDenied(Kind):
    """The store is not this function's."""


class Error_Other(Text):
    """Anything else; `value` is a sentence."""
