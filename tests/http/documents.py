# SPDX-License-Identifier: Apache-2.0
"""The API documents of tests/specs/documents, taken apart: sections by their headings, and in each
the blocks of code, so that a test runs what stands there and not a copy of it."""

import json
import re

from harness import ROOT

FOLDER = ROOT / "tests/specs/documents"


class Section:
    def __init__(self, titles):
        self.titles = titles  # from the outermost heading
        self.blocks = []      # (language, text)
        self.text = ""

    @property
    def path(self):
        return " / ".join(self.titles)


def _clean(title):
    return title.replace("*", "").replace("`", "").strip()


def sections(name):
    """Every section of a document, in order; what stands before the first heading has no titles."""
    titles, found, block = [], [Section([])], None
    for line in (FOLDER / f"{name}.txt").read_text().splitlines():
        if block is None and (m := re.match(r"(#+) (.*)", line)):
            depth = len(m.group(1))
            titles = [t for t in titles if t[0] < depth] + [(depth, _clean(m.group(2)))]
            found.append(Section([t[1] for t in titles]))
        elif m := re.match(r"```(\w*)", line):
            if block is None:
                block = (m.group(1), [])
            else:
                found[-1].blocks.append((block[0], "\n".join(block[1]) + "\n"))
                block = None
        elif block is not None:
            block[1].append(line)
        else:
            found[-1].text += line + "\n"
    assert block is None
    return found


def block(name, *titles, language="json", index=0):
    """The text of one block: in the section whose headings contain TITLES, innermost last."""
    for s in sections(name):
        at = 0
        for t in s.titles:
            if at < len(titles) and titles[at] in t:
                at += 1
        if at == len(titles) and s.titles and titles[-1] in s.titles[-1]:
            blocks = [text for lang, text in s.blocks if lang == language]
            if index < len(blocks):
                return blocks[index]
    raise AssertionError(f"{name}: there is no {language} block under {titles}")


def kind(value):
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return {str: "string", list: "array", dict: "object", type(None): "null"}[type(value)]


def missing(example, answer, free=(), nullable=(), where=""):
    """What EXAMPLE promises and ANSWER lacks: members and types, not values. Below members named in
    FREE the keys are the user's; those in NULLABLE may be null in either."""
    if kind(example) != kind(answer):
        name = where.rsplit(".", 1)[-1]
        if name in nullable and None in (example, answer):
            return []
        return [f"{where or 'it'} is {kind(answer)}, not {kind(example)}"]
    if isinstance(example, dict):
        out = []
        for key, value in example.items():
            if key not in answer:
                out.append(f"{where}.{key} is missing")
            elif key not in free:
                out += missing(value, answer[key], free, nullable, f"{where}.{key}")
            elif kind(value) != kind(answer[key]):
                out.append(f"{where}.{key} is {kind(answer[key])}")
        return out
    if isinstance(example, list) and example and answer:
        return missing(example[0], answer[0], free, nullable, f"{where}[]")
    return []


def assert_like(text, answer, free=(), nullable=()):
    """ANSWER (parsed) has the shape of the document's example TEXT."""
    lacks = missing(json.loads(text), answer, free, nullable)
    assert lacks == [], f"{lacks}: {answer}"
