#!/bin/sh
# Builds @NAME@.wasm with the first Rust on the PATH that has a WASI target; `sh build.sh test` tests it.
set -e
cd "$(dirname "$0")"
paths=$PATH
IFS=:
for folder in $paths; do
    for target in wasm32-wasip1 wasm32-wasi; do # the second is its name before Rust 1.78
        libraries=$("$folder/rustc" --print target-libdir --target $target 2>/dev/null) || continue
        [ -d "$libraries" ] || continue
        PATH="$folder:$paths" RUSTC="$folder/rustc"
        export PATH RUSTC
        if [ "$1" = test ]; then
            exec cargo test
        fi
        cargo build --release --target $target
        cp "${CARGO_TARGET_DIR:-target}/$target/release/@NAME@.wasm" .
        exit 0
    done
done
echo "no Rust here has a WASI target: rustup target add wasm32-wasip1, or apt-get install cargo libstd-rust-dev-wasm32" >&2
exit 1
