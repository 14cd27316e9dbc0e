#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what kiln serves at /openapi from the OpenAPI documents in api/.

    gen_openapi.py OUT.json NAME.yaml          the document, as JSON
    gen_openapi.py --list OUT.json NAME.yaml…  which documents there are, for the page at /docs"""

import json
import pathlib
import re
import sys

import yaml


class Loader(yaml.SafeLoader):
    """YAML's timestamps stay the text that they are: in JSON they would be nothing else."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != 'tag:yaml.org,2002:timestamp']
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}

# What the build reads and no client has a use for.
OURS = re.compile(r'^x-kiln-(?!role$)')


def cleaned(node):
    if isinstance(node, list):
        return [cleaned(n) for n in node]
    if isinstance(node, dict):
        return {str(k): cleaned(v) for k, v in node.items() if not OURS.match(str(k))}
    return node


def load(path):
    with open(path, encoding='utf-8') as f:
        return cleaned(yaml.load(f, Loader))  # noqa: S506, a SafeLoader


def listed(path):
    name = pathlib.Path(path).stem
    info = load(path)['info']
    return {'name': name, 'title': info['title'], 'url': f'/openapi/{name}.json'}


def main():
    if sys.argv[1] == '--list':
        out, *paths = sys.argv[2:]
        # kiln's own, which every dialect has, comes last
        made = {'documents': sorted((listed(p) for p in paths),
                                    key=lambda d: (d['name'] == 'common', d['name']))}
    else:
        out, path = sys.argv[1:]
        made = load(path)
    with open(out, 'w', encoding='utf-8') as f:
        json.dump(made, f, ensure_ascii=False, separators=(',', ':'))


if __name__ == '__main__':
    main()
