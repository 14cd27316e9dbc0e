# SPDX-License-Identifier: Apache-2.0
"""How a variable is not there."""

from ..types import Text


class Error_InvalidName(Text):
    """No variable can be called that."""


class Error_Undefined(Text):
    """The function's environment has no such variable."""


class Error_Provider(Text):
    """Not raised here: variables have one source."""


class Error_Other(Text):
    """Not raised here."""
