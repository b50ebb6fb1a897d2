#!/usr/bin/env bash
# Measures the numbers of docs/BENCHMARKS.md on this machine and prints them. Everything runs on a platform of its own,
# which is removed at the end.
#
#   bench.sh            needs about ten minutes
#   WIDE=1 bench.sh     with 512 instances at the end: five minutes and 6 GiB more; needs root, and a larger table of
#                       neighbours in the kernel meanwhile, which it sets and sets back
#   IDLE=20 bench.sh    seconds of rest before memory is read, instead of five minutes
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$root/scripts/setup.sh" test
cd "$root"
cargo build --release --locked --package slipway
slipway=$CARGO_TARGET_DIR/release/slipway
dir=$run_dir/bench
rm -rf "$dir"
mkdir -p "$dir"
start_engine "$dir"
export SLIPWAY_DATA_DIR
SLIPWAY_DATA_DIR=$(mktemp -d)
chmod 711 "$SLIPWAY_DATA_DIR"
export SLIPWAY_API_LISTEN=127.0.0.1:$(free_port) SLIPWAY_ADMIN_LISTEN=127.0.0.1:$(free_port)
export SLIPWAY_PROXY_ADMIN_LISTEN=127.0.0.1:$(free_port) SLIPWAY_HTTP_LISTEN=127.0.0.1:$(free_port)
export SLIPWAY_HTTPS_LISTEN=127.0.0.1:$(free_port) SLIPWAY_NETWORK_POOL=10.250.0.0/16 SLIPWAY_DISK_FREE_MIN=1%
stop() {
  local code=$?
  "$slipway" uninstall --delete-data --yes >/dev/null 2>&1 || true
  stop_pid "$dir/dockerd.pid" dockerd
  if [ -n "${neighbours:-}" ]; then
    sysctl -q -w net.ipv4.neigh.default.gc_thresh2="$neighbours" net.ipv4.neigh.default.gc_thresh3="$neighbours_max"
  fi
  exit $code
}
trap stop EXIT
if [ -n "${WIDE:-}" ]; then
  neighbours=$(sysctl -n net.ipv4.neigh.default.gc_thresh2) neighbours_max=$(sysctl -n net.ipv4.neigh.default.gc_thresh3)
  sysctl -q -w net.ipv4.neigh.default.gc_thresh3=8192 net.ipv4.neigh.default.gc_thresh2=4096
fi

work=$(mktemp -d)
cp "$(static_binary testapp slipway-testapp)" "$work/app"
printf 'FROM scratch\nCOPY app /app\nEXPOSE 8080\nENTRYPOINT ["/app"]\n' >"$work/Dockerfile"
DOCKER_BUILDKIT=0 docker build --quiet --tag slipway-bench/app:1 "$work" >/dev/null 2>&1
rm -r "$work"

IDLE=${IDLE:-300} SLIPWAY=$slipway python3 "$root/scripts/bench.py"
