#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing of the Debian packages and npm packages that kiln needs, and nothing when
# all are there.
#
#   tools/setup.sh run     to build and run
#   tools/setup.sh test    … and to run the tests
#   tools/setup.sh bench   … and to run the benchmark
#
# npm packages go to tools/npm/<set>/node_modules, in the versions of the lock file beside it, and
# none of their scripts is run.
set -eu
cd "$(dirname "$0")/.."

run="gcc libc6-dev make meson ninja-build pkg-config python3 python3-yaml nodejs ca-certificates
libjansson-dev libarchive-dev libyaml-dev libsqlite3-dev libssl-dev libseccomp-dev libslirp-dev
libcurl4-openssl-dev zlib1g-dev
libpython3.11-dev skopeo umoci crun"
test="clang libclang-rt-14-dev libcmocka-dev libhttp-parser-dev python3-pytest python3-pytest-xdist
python3-jsonschema python3-requests openapi-specification docker-registry prometheus
procps util-linux curl iproute2"
bench="wrk gunicorn python3-gunicorn"
# Packages that would start a service of their own when they are installed, by its name.
services="docker-registry prometheus"

case "${1:-run}" in
run) want="$run" npm_sets="run" ;;
test) want="$run $test" npm_sets="run test" ;;
bench) want="$run $test $bench" npm_sets="run test" ;;
*)
    echo "usage: tools/setup.sh run|test|bench" >&2
    exit 2
    ;;
esac

# ---- what is missing? ----

missing=""
status="$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null || true)"
for package in $want; do
    case "
$status
" in
    *"
$package installed
"*) ;;
    *) missing="$missing $package" ;;
    esac
done
# npm comes with some builds of Node.js; Debian has it as a package.
command -v npm >/dev/null || missing="$missing npm"

npm_stale() { # SET: is what was installed not what the lock file says?
    ! cmp -s "tools/npm/$1/package-lock.json" "tools/npm/$1/node_modules/.kiln-lock"
}

# ---- Debian's ----

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# The tests start a registry and a Prometheus of their own, at addresses of their own; a service
# that listens on this machine from now on is not what somebody who runs tests has asked for. So
# what comes newly is masked (for after a restart: `systemctl unmask prometheus` to use it), and
# while packages are installed policy-rc.d refuses to start anything. What was installed before is
# left alone.
quiet_services() {
    [ -d /etc/systemd/system ] || return 0
    for service in $services; do
        case " $missing " in
        *" $service "*)
            [ -e "/etc/systemd/system/$service.service" ] ||
                as_root ln -s /dev/null "/etc/systemd/system/$service.service"
            ;;
        esac
    done
}

policy=/usr/sbin/policy-rc.d
start_nothing() {
    [ ! -e "$policy" ] || return 0
    printf '#!/bin/sh\n# tools/setup.sh of kiln, while it installs\nexit 101\n' |
        as_root sh -c "umask 022; cat >$policy; chmod 755 $policy"
    policy_made=yes
}

tidy() {
    [ -z "$policy_made" ] || as_root rm -f "$policy"
    [ -z "$log" ] || rm -f "$log"
}

policy_made="" log=""
trap tidy EXIT
trap 'exit 130' INT TERM

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"; }

debian() {
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        echo "kiln needs these packages, and neither root nor sudo is here to install them:" >&2
        echo " $missing" >&2
        return 1
    fi
    echo "installing:$missing"
    log="$(mktemp)"
    # shellcheck disable=SC2086 # a list of words
    if ! { as_root true && quiet_services && start_nothing && apt update &&
        apt install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        echo "the packages could not be installed; above is what was said last" >&2
        return 1
    fi
}
# Without npm alone kiln builds and runs: npm_set says what is missing then.
[ -z "$missing" ] || debian || [ "$missing" = " npm" ] || exit 1

# ---- npm's ----

npm_home() { # a cache where the user has no home that can be written
    if [ -n "${HOME:-}" ] && [ -d "$HOME" ] && [ -w "$HOME" ]; then return; fi
    npm_config_cache="$PWD/.run/npm-cache"
    export npm_config_cache
}

npm_install() { # SET
    folder="tools/npm/$1"
    echo "npm: $(grep -c '"node_modules/' "$folder/package-lock.json") packages for $folder"
    log="${log:-$(mktemp)}"
    npm_home
    # Optional dependencies are compiled programs that nothing here needs.
    if ! (cd "$folder" && npm ci --ignore-scripts --omit=optional --no-audit --no-fund \
        --no-update-notifier --fetch-retries=1) >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        return 1
    fi
    cp "$folder/package-lock.json" "$folder/node_modules/.kiln-lock"
}

# Two at the same time take turns.
npm_set() { # SET
    npm_stale "$1" || return 0
    exec 9>"tools/npm/$1/.lock"
    flock 9
    if ! npm_stale "$1"; then return 0; fi
    if command -v npm >/dev/null; then
        if npm_install "$1"; then return 0; fi
    else
        echo "npm is not here" >&2
    fi
    if [ "$1" = run ]; then
        echo "without them kiln works, but for its pages at /docs; again later: tools/setup.sh" >&2
        return 0
    fi
    echo "the npm packages could not be installed; above is what npm said last" >&2
    return 1
}
for set in $npm_sets; do
    npm_set "$set" || exit 1
done
