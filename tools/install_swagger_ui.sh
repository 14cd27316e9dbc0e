#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# meson install: what kiln serves of Swagger UI, to the folder $1 (below the prefix), where npm's
# package is there. Meson sets MESON_*.
set -eu
from="$MESON_SOURCE_ROOT/tools/npm/run/node_modules/swagger-ui-dist"
to="$MESON_INSTALL_DESTDIR_PREFIX/$1"
if [ ! -f "$from/swagger-ui-bundle.js" ]; then
    echo "no Swagger UI, so no pages at /docs: tools/setup.sh run fetches it"
    exit 0
fi
mkdir -p "$to"
for file in swagger-ui-bundle.js swagger-ui-standalone-preset.js swagger-ui.css \
    favicon-16x16.png favicon-32x32.png LICENSE NOTICE; do
    install -m 644 "$from/$file" "$to/$file"
done
