# SPDX-License-Identifier: Apache-2.0
"""`Err`: what every operation raises; its `value` is one of the Error classes in wit.imports."""


class Err(Exception):
    """An operation failed; `value` says how."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value

    def __repr__(self):
        return f"Err({self.value!r})"

    __str__ = __repr__


class Ok:
    """The other half of a result."""

    def __init__(self, value=None):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, Ok) and other.value == self.value

    def __repr__(self):
        return f"Ok({self.value!r})"


class Kind:
    """A case without a value."""

    def __eq__(self, other):
        return type(self) is type(other)

    def __hash__(self):
        return hash(type(self))

    def __repr__(self):
        return f"{type(self).__name__}()"


class Text(Kind):
    """A case whose value is a text."""

    def __init__(self, value=""):
        self.value = value

    def __eq__(self, other):
        return type(self) is type(other) and self.value == other.value

    def __hash__(self):
        return hash((type(self), self.value))

    def __repr__(self):
        return f"{type(self).__name__}(value={self.value!r})"
