# SPDX-License-Identifier: Apache-2.0
"""A function of several files: counts the words of a text."""

from counting import most_common


def handler(event, context):
    text = (event.body or {}).get("text", "")
    context.log.info("%d characters", len(text))
    return {"words": most_common(text), "left_ms": context.get_remaining_time_in_millis()}
