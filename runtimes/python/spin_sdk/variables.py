# SPDX-License-Identifier: Apache-2.0
"""Variables of the application: the function's environment.

`get("api_key")` is the first of SPIN_VARIABLE_API_KEY, API_KEY and api_key that is set.
"""

import os
import re

from .wit.imports.variables import Error_InvalidName, Error_Undefined
from .wit.types import Err

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")


def get(key):
    """The value, a str. Raises Err(Error_Undefined) or Err(Error_InvalidName)."""
    if not isinstance(key, str):
        raise TypeError(f"a variable's name is a str, not {type(key).__name__}")
    if not _NAME.fullmatch(key):
        raise Err(Error_InvalidName(key))
    for name in ("SPIN_VARIABLE_" + key.upper(), key.upper(), key):
        if name in os.environ:
            return os.environ[name]
    raise Err(Error_Undefined(key))
