#!/usr/bin/env bash
# Runs all tests, real parts included, and stops what it started. Nothing is skipped: what cannot run fails.
#
#   test.sh [arguments for cargo nextest run]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

"$root/scripts/setup.sh" test

dir=$run_dir/test
rm -rf "$dir"
mkdir -p "$dir"
stop() {
  local code=$?
  stop_pid "$dir/registry.pid" docker-registry
  [ -z "${postgres:-}" ] || { kill -INT "$postgres" 2>/dev/null && wait "$postgres" 2>/dev/null; } || true
  [ -z "${data:-}" ] || rm -rf "$data"
  stop_pid "$dir/dockerd.pid" dockerd
  exit $code
}
trap stop EXIT

start_engine "$dir"

# Postgres refuses to run as root, and its directory must be reachable by its user.
bin=$(postgres_bin)
port=$(free_port)
data=$(mktemp -d)
run_as=()
if [ "$(id -u)" = 0 ]; then
  chown postgres "$data"
  run_as=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi
"${run_as[@]}" "$bin/initdb" -D "$data/data" -U postgres --auth=trust >"$dir/initdb.log"
"${run_as[@]}" "$bin/postgres" -D "$data/data" -p "$port" -k "$data" -c listen_addresses=127.0.0.1 -c fsync=off \
  -c max_connections=300 >"$dir/postgres.log" 2>&1 &
postgres=$!
wait_for 30 "Postgres" "$bin/pg_isready" -h 127.0.0.1 -p "$port" -U postgres
export SLIPWAY_TEST_DATABASE_URL=postgres://postgres@127.0.0.1:$port/postgres

registry_port=$(free_port)
start_registry "$dir" "$registry_port"
export SLIPWAY_TEST_REGISTRY=127.0.0.1:$registry_port SLIPWAY_TEST_REGISTRY_USER=ci SLIPWAY_TEST_REGISTRY_PASSWORD=registry-password
"$root/scripts/build-test-images.sh" "$SLIPWAY_TEST_REGISTRY"
"$root/scripts/build-platform-images.sh" "$SLIPWAY_TEST_REGISTRY"

cd "$root"
# So many histories and worlds are tried by each property.
export PROPTEST_CASES=${PROPTEST_CASES:-10000}
# Unquoted, for it may be several words.
cargo nextest run ${PACKAGES:---workspace} --locked "$@"
if [ $# = 0 ]; then
  cargo test --workspace --locked --doc --quiet
  DATABASE_URL=$SLIPWAY_TEST_DATABASE_URL cargo xtask sqlx --check
  cargo xtask generated --check
fi
