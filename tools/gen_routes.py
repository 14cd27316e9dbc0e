#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the route table of src/api from the OpenAPI documents in api/.

    gen_routes.py OUT.h OUT.c NAME.yaml…

NAME is the dialect: `struct dialect dialect_NAME` and a handler `op_NAME_<operationId>` for each
operation must exist, or the program does not link. Paths become a trie of segments: literals are
tried before parameters. Extensions read here: x-kiln-role, x-kiln-body-max (see router.h), and
x-kiln-rest, with which the last parameter of an operation's path takes all that is left of it,
slashes too."""

import pathlib
import re
import sys

import yaml

METHODS = ('get', 'put', 'post', 'delete', 'patch', 'head', 'options')
ROLES = {'none': '0', 'viewer': 'ROLE_VIEWER', 'invoker': 'ROLE_INVOKER',
         'developer': 'ROLE_DEVELOPER', 'admin': 'ROLE_ADMIN'}
BODY_MAX_DEFAULT = 1 << 20
BODY_WORDS = {'invoke': 'ROUTE_BODY_INVOKE', 'invoke-base64': 'ROUTE_BODY_INVOKE_BASE64'}
PARAMS_MAX = 4
REST = object()  # the segment of a parameter that takes the rest of a path


class Node:
    def __init__(self, segment):
        self.segment = segment  # None: a parameter; REST: of all that is left
        self.children = {}
        self.operations = []
        self.path = ''


def fail(message):
    sys.exit(f'gen_routes: {message}')


def operations(path_of_document):
    """(dialect, path, method, operation) of every operation of a document."""
    dialect = pathlib.Path(path_of_document).stem
    with open(path_of_document, encoding='utf-8') as f:
        document = yaml.safe_load(f)
    seen = set()
    for path, item in document['paths'].items():
        for method in METHODS:
            if method not in item:
                continue
            op = item[method]
            name = op.get('operationId')
            where = f'{path_of_document}: {method.upper()} {path}'
            if not name or not re.fullmatch(r'[a-z][a-z0-9_]*', name):
                fail(f'{where}: operationId must be lower_case, is {name!r}')
            if name in seen:
                fail(f'{where}: operationId {name} is used twice')
            if op.get('x-kiln-role') not in ROLES:
                fail(f'{where}: x-kiln-role must be one of {", ".join(ROLES)}')
            seen.add(name)
            yield dialect, path, method, op


def insert(root, path, entry):
    node = root
    params = 0
    segments = path.strip('/').split('/') if path != '/' else []
    rest = entry[3].get('x-kiln-rest', False)
    if rest and not segments[-1].startswith('{'):
        fail(f'{path}: x-kiln-rest wants a parameter at the end')
    for i, segment in enumerate(segments):
        if segment.startswith('{'):
            segment = REST if rest and i == len(segments) - 1 else None
            params += 1
        node = node.children.setdefault(segment, Node(segment))
    if params > PARAMS_MAX:
        fail(f'{path}: more than {PARAMS_MAX} parameters')
    if any(e[2] == entry[2] for e in node.operations):
        fail(f'{entry[2].upper()} {path}: two operations')
    node.operations.append(entry)


def flatten(root):
    """Nodes so that the children of one stand together: literals first, then the parameter, then
    the parameter that takes the rest."""
    nodes = [root]
    for node in nodes:
        node.kids = sorted((c for c in node.children.values() if isinstance(c.segment, str)),
                           key=lambda c: c.segment)
        node.kids += [node.children[kind] for kind in (None, REST) if kind in node.children]
        node.first = len(nodes) if node.kids else 0
        nodes.extend(node.kids)
    return nodes


def body_max(op):
    value = op.get('x-kiln-body-max', BODY_MAX_DEFAULT)
    return BODY_WORDS.get(value) or str(int(value))


def in_workspace(path):
    return 'true' if '{workspace' in path else 'false'


def write_source(nodes, out):
    routes = []
    lines = ['static const struct route_node nodes[] = {']
    for node in nodes:
        first = len(routes)
        routes += [(e, node) for e in node.operations]
        segment = 'NULL, 0'
        if isinstance(node.segment, str) and node.segment:
            segment = f'"{node.segment}", {len(node.segment)}'
        lines.append(f'    {{{segment}, {node.first}, {len(node.kids)}, {first}, '
                     f'{len(node.operations)}, {int(node.segment is REST)}}},')
    lines.append('};')
    table = ['static const struct route all[] = {']
    for (dialect, path, method, op), _ in routes:
        table.append(f'    {{HTTP_{method.upper()}, "{method.upper()}", "{path}", '
                     f'"{op["operationId"]}", &dialect_{dialect}, '
                     f'{ROLES[op["x-kiln-role"]]}, {body_max(op)}, {in_workspace(path)}, '
                     f'op_{dialect}_{op["operationId"]}}},')
    table.append('};')
    out.write('/* Made by tools/gen_routes.py. Do not edit. */\n#include "routes.h"\n\n')
    out.write('\n'.join(table + [''] + lines) + '\n\n')
    out.write('const struct route_table route_table = {all, nodes, sizeof(all) / sizeof(all[0])};\n')
    return routes


def write_header(routes, dialects, out):
    out.write('/* Made by tools/gen_routes.py. Do not edit. */\n'
              '#ifndef KILN_API_ROUTES_H\n#define KILN_API_ROUTES_H\n'
              '#include "api/request.h"\n\n')
    for dialect in dialects:
        out.write(f'extern const struct dialect dialect_{dialect};\n')
    out.write('extern const struct route_table route_table;\n\n')
    for (dialect, path, method, op), _ in routes:
        out.write(f'/* {method.upper()} {path} */\n'
                  f'void op_{dialect}_{op["operationId"]}(struct request *r);\n')
    out.write('\n#endif\n')


def main():
    header, source, *documents = sys.argv[1:]
    root = Node('')
    dialects = []
    for document in documents:
        dialects.append(pathlib.Path(document).stem)
        for entry in operations(document):
            insert(root, entry[1], entry)
    with open(source, 'w', encoding='utf-8') as out:
        routes = write_source(flatten(root), out)
    with open(header, 'w', encoding='utf-8') as out:
        write_header(routes, dialects, out)


if __name__ == '__main__':
    main()
