# SPDX-License-Identifier: Apache-2.0
from collections import Counter


def most_common(text, n=3):
    return Counter(text.lower().split()).most_common(n)
