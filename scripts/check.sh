#!/usr/bin/env bash
# The checks that need nothing but the compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '== %s  %s\n' "$(date -u +%H:%M:%S)" "$*"; "$@"; }
step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --document-private-items --locked --quiet
step cargo xtask deps
step cargo xtask bans
step cargo xtask tidy
