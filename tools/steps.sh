# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# For ./run and ./test: numbered steps with their time. The output of a step goes to a file and is
# shown when it fails. Set STEPS to how many there are.

step_no=0
now_ms() { date +%s%3N; }

# step "what happens" command …
step() {
    what="$1"
    shift
    step_no=$((step_no + 1))
    printf '[%d/%d] %-44s ' "$step_no" "$STEPS" "$what"
    begun=$(now_ms)
    step_log="$(mktemp)"
    if "$@" >"$step_log" 2>&1; then
        took=$(($(now_ms) - begun))
        printf 'ok   %d.%01d s\n' $((took / 1000)) $((took % 1000 / 100))
        rm -f "$step_log"
        return 0
    fi
    printf 'FAILED\n'
    cat "$step_log"
    rm -f "$step_log"
    return 1
}

# build FOLDER [meson options …]: sets the folder up so, when it is not yet, then builds
build() {
    folder="$1"
    shift
    if [ ! -f "$folder/build.ninja" ]; then
        meson setup "$folder" "$@" || return 1
    elif [ "$(cat "$folder/.options" 2>/dev/null)" != "$*" ]; then
        meson configure "$folder" "$@" || return 1
    fi
    echo "$*" >"$folder/.options"
    ninja -C "$folder"
}
