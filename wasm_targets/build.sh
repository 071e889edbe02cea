#!/bin/sh
# Builds the Wasm targets, or proves that the committed ones come from these sources.
#
#   build.sh            rebuild dist/*.wasm, dist/SHA256SUMS and dist/PROVENANCE.json
#   build.sh --check    rebuild into a temporary folder and compare with dist/
#
# Exit: 0 done or identical, 1 different or the build failed, 2 wrong usage or no toolchain,
# 3 not comparable (another toolchain than the one in PROVENANCE.json; its bytes differ anyhow).
#
# Everything is offline. Debian ships the sources of Rust's standard library together with the
# crates it needs, so the library is built for Wasm from there.
set -eu
LC_ALL=C
export LC_ALL

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
dist=$here/dist
rust_src=/usr/lib/rustlib/src/rust
packages="rustc-web cargo-web rust-web-src lld"
# The rustup proxies must not shadow Debian's own compiler.
PATH=/usr/bin:/bin:$PATH
export PATH

say() { printf '%s\n' "$*" >&2; }

find_toolchain() {
    for tool in /usr/bin/rustc /usr/bin/cargo /usr/bin/wasm-ld; do
        if [ ! -x "$tool" ]; then
            say "build.sh: $tool is missing; on Debian install the toolchain with:" \
                "apt-get install --no-install-recommends $packages"
            exit 2
        fi
    done
    if [ ! -d "$rust_src/library/vendor" ]; then
        say "build.sh: the sources of Rust's standard library are missing; on Debian install" \
            "them with: apt-get install --no-install-recommends rust-web-src"
        exit 2
    fi
}

# The flags of one build, one on a line, with {crate}, {std} and {home} for the folders that
# differ between machines. The remaps keep those folders out of the modules.
flags_of() {
    if [ "$1" = unwind ]; then
        printf '%s\n' -Cpanic=unwind
        # wasmtime refuses the older encoding of exceptions.
        printf '%s\n' -Cllvm-args=-wasm-use-legacy-eh=false
    else
        printf '%s\n' -Cpanic=abort
    fi
    printf '%s\n' -Clink-arg=--export=__stack_pointer \
        '--remap-path-prefix={crate}=/ticket' \
        '--remap-path-prefix={std}=/rust' \
        '--remap-path-prefix={home}=/cargo'
}

# build_one <abort|unwind> <scratch folder> <output file>
build_one() {
    scratch=$2
    sep=$(printf '\037')
    real_src=$(CDPATH='' cd -P -- "$rust_src" && pwd -P)
    encoded=
    flags_of "$1" >"$scratch/flags"
    while IFS= read -r flag; do
        case $flag in
        *'{crate}'*) flag=--remap-path-prefix=$here/ticket=/ticket ;;
        *'{std}'*) flag=--remap-path-prefix=$rust_src=/rust$sep--remap-path-prefix=$real_src=/rust ;;
        *'{home}'*) flag=--remap-path-prefix=$scratch=/cargo ;;
        esac
        encoded=${encoded:+$encoded$sep}$flag
    done <"$scratch/flags"
    # A cargo home of our own, so that nobody's configuration takes part in the build.
    (
        cd "$here/ticket"
        unset RUSTFLAGS RUSTC RUSTC_WRAPPER CARGO_BUILD_TARGET CARGO_TARGET_DIR || :
        CARGO_HOME=$scratch/home \
            CARGO_ENCODED_RUSTFLAGS=$encoded \
            CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld \
            RUSTC_BOOTSTRAP=1 \
            /usr/bin/cargo build --quiet --release --offline --locked \
            --config 'source.crates-io.replace-with="std-vendor"' \
            --config "source.std-vendor.directory=\"$rust_src/library/vendor\"" \
            "-Zbuild-std=std,panic_$1" --target wasm32-unknown-unknown \
            --target-dir "$scratch/$1"
    ) >&2 || {
        say "build.sh: the $1 build failed; the compiler's own words stand above"
        exit 1
    }
    cp "$scratch/$1/wasm32-unknown-unknown/release/ticket.wasm" "$3"
    chmod 644 "$3"
}

# Lines of text as the items of a JSON list.
json_list() {
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e "s/^/$1\"/" -e 's/$/",/' | sed -e '$ s/,$//'
}

# What must be the same for the bytes to be the same.
toolchain_lines() {
    rustc -vV
    cargo --version
    wasm-ld --version
    for package in $packages; do
        dpkg-query -W -f '${Package} ${Version}\n' "$package" 2>/dev/null || :
    done
}

provenance() {
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/ticket/Cargo.toml")
    printf '{\n  "crate": "ticket",\n  "crate_version": "%s",\n' "$version"
    printf '  "target": "wasm32-unknown-unknown",\n'
    printf '  "toolchain": [\n'
    toolchain_lines | json_list '    '
    printf '  ],\n  "builds": {\n'
    for build in abort unwind; do
        printf '    "%s": {\n' "$build"
        printf '      "command": "cargo build --release --offline --locked'
        printf ' -Zbuild-std=std,panic_%s --target wasm32-unknown-unknown",\n' "$build"
        printf '      "environment": ["RUSTC_BOOTSTRAP=1",'
        printf ' "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld"],\n'
        printf '      "rustflags": [\n'
        flags_of "$build" | json_list '        '
        printf '      ]\n    }%s\n' "$([ "$build" = abort ] && printf ,)"
    done
    printf '  },\n  "sources_sha256": {\n'
    (cd "$here" && sha256sum ticket/Cargo.lock ticket/Cargo.toml ticket/src/*.rs) |
        sed -e 's/^\([0-9a-f]*\)  \(.*\)$/    "\2": "\1",/' -e '$ s/,$//'
    printf '  },\n'
    printf '  "rebuild": "wasm_targets/build.sh; compare: wasm_targets/build.sh --check"\n}\n'
}

# build_all <scratch folder> <output folder>
build_all() {
    build_one abort "$1" "$2/ticket-abort.wasm"
    build_one unwind "$1" "$2/ticket-unwind.wasm"
    (cd "$2" && sha256sum ticket-abort.wasm ticket-unwind.wasm >SHA256SUMS)
}

toolchain_of() { sed -n '/"toolchain": \[/,/\],/p' "$1"; }

check() {
    for file in SHA256SUMS PROVENANCE.json; do
        if [ ! -f "$dist/$file" ]; then
            say "build.sh: dist/$file is missing, so there is nothing to compare with;" \
                "run build.sh without --check first"
            exit 1
        fi
    done
    provenance >"$scratch_root/PROVENANCE.json"
    toolchain_of "$dist/PROVENANCE.json" >"$scratch_root/theirs"
    toolchain_of "$scratch_root/PROVENANCE.json" >"$scratch_root/ours"
    if ! cmp -s "$scratch_root/theirs" "$scratch_root/ours"; then
        say "build.sh: not comparable: this toolchain is not the one in dist/PROVENANCE.json," \
            "and another compiler makes other bytes from the same sources"
        diff "$scratch_root/theirs" "$scratch_root/ours" >&2 || :
        exit 3
    fi
    mkdir "$scratch_root/out"
    build_all "$scratch_root" "$scratch_root/out"
    if ! cmp -s "$dist/SHA256SUMS" "$scratch_root/out/SHA256SUMS"; then
        say "build.sh: different: dist/ does not come from these sources; rebuild it with" \
            "build.sh and commit the result (< is dist/, > is the rebuilt one)"
        diff "$dist/SHA256SUMS" "$scratch_root/out/SHA256SUMS" >&2 || :
        exit 1
    fi
    if ! (cd "$dist" && sha256sum --quiet -c SHA256SUMS) >&2; then
        say "build.sh: different: a module in dist/ does not match dist/SHA256SUMS"
        exit 1
    fi
    if ! cmp -s "$dist/PROVENANCE.json" "$scratch_root/PROVENANCE.json"; then
        say "build.sh: different: the modules are the same, but dist/PROVENANCE.json is out of" \
            "date; rebuild with build.sh and commit the result"
        exit 1
    fi
    say "build.sh: identical: both modules were rebuilt bit for bit"
}

mode=${1:-build}
if [ $# -gt 1 ] || { [ "$mode" != build ] && [ "$mode" != --check ]; }; then
    say "build.sh: usage: build.sh [--check]"
    exit 2
fi
find_toolchain
scratch_root=$(mktemp -d)
trap 'rm -rf "$scratch_root"' EXIT
trap 'exit 1' HUP INT TERM
if [ "$mode" = --check ]; then
    check
else
    mkdir -p "$dist" "$scratch_root/out"
    build_all "$scratch_root" "$scratch_root/out"
    provenance >"$scratch_root/out/PROVENANCE.json"
    cp "$scratch_root/out/"* "$dist/"
    for module in ticket-abort.wasm ticket-unwind.wasm; do
        say "build.sh: built dist/$module, $(wc -c <"$dist/$module") bytes"
    done
fi
