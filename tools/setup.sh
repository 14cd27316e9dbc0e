#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing of the Debian packages that kiln needs, and nothing when all are there.
#
#   tools/setup.sh run     to build and run
#   tools/setup.sh test    … and to run the tests
#   tools/setup.sh bench   … and to run the benchmark
set -eu

run="gcc libc6-dev make meson ninja-build pkg-config python3 python3-yaml nodejs ca-certificates
libjansson-dev libsqlite3-dev libssl-dev libseccomp-dev libslirp-dev libcurl4-openssl-dev
libpython3.11-dev"
test="clang libclang-rt-14-dev libcmocka-dev libhttp-parser-dev python3-pytest python3-pytest-xdist
python3-jsonschema
procps util-linux curl iproute2"
bench="wrk gunicorn python3-gunicorn"

case "${1:-run}" in
run) want="$run" ;;
test) want="$run $test" ;;
bench) want="$run $test $bench" ;;
*)
    echo "usage: tools/setup.sh run|test|bench" >&2
    exit 2
    ;;
esac

missing=""
for package in $want; do
    case "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "kiln needs these packages, and neither root nor sudo is here to install them:" >&2
        echo " $missing" >&2
        exit 1
    fi
    sudo="sudo"
fi
echo "installing:$missing"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
if ! { $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
    # shellcheck disable=SC2086 # a list of words
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; } \
    >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "the packages could not be installed; above is what apt-get said last" >&2
    exit 1
fi
