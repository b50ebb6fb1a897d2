#!/usr/bin/env bash
# What `make test` does in part, in full. Takes hours; each part can be left out.
#
#   HISTORIES=1000000   simulated histories of the planner
#   DEPLOYS=1000        rolling deploys under load
#   PER_SECOND=500      requests a second during them
#   NETWORKS=250        networks on the engine at once
#   DOMAINS=200         certificates at a CA that refuses nine nonces of ten
#   SERVED=20           domains added one after the other, and how long until a visitor has the certificate
#   SIMULATED_DOMAINS=1000  domains whose certificates are renewed in ninety days of a simulated clock
#   CALLS=1             every call of the engine and every round trip to the database broken once; of the silences of
#                       the database, each of which takes its 12 s, a hundred
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"
if [ "${HISTORIES:=1000000}" != 0 ]; then
  say "== $HISTORIES histories"
  PROPTEST_CASES=$HISTORIES PROPTEST_MAX_SHRINK_TIME=60000 \
    cargo test --release --locked --package slipway-planner --test it simulation
fi
if [ "${DEPLOYS:=1000}" != 0 ]; then
  say "== $DEPLOYS deploys at ${PER_SECOND:=500} requests a second"
  CHAOS_DEPLOYS=$DEPLOYS CHAOS_PER_SECOND=$PER_SECOND \
    PACKAGES="--package slipway" scripts/test.sh --release --profile soak --no-capture -E 'test(i04_)'
fi
if [ "${NETWORKS:=250}" != 0 ]; then
  say "== $NETWORKS networks"
  CHAOS_NETWORKS=$NETWORKS PACKAGES="--package slipway-engine" scripts/test.sh -E 'test(f35_)'
fi
if [ "${DOMAINS:=200}" != 0 ]; then
  say "== $DOMAINS domains at a CA that refuses nine nonces of ten"
  CHAOS_DOMAINS=$DOMAINS PACKAGES="--package slipway" scripts/test.sh --release --profile soak -E 'test(refuses_most_nonces)'
fi
if [ "${SERVED:=20}" != 0 ]; then
  say "== $SERVED domains from their record to the visitor"
  CHAOS_SERVED=$SERVED PACKAGES="--package slipway" \
    scripts/test.sh --release --profile soak --no-capture -E 'test(is_served_without_another_word)'
fi
if [ "${SIMULATED_DOMAINS:=1000}" != 0 ]; then
  say "== ninety simulated days of $SIMULATED_DOMAINS domains"
  CHAOS_SIMULATED_DOMAINS=$SIMULATED_DOMAINS PACKAGES="--package slipway-acme" \
    scripts/test.sh --release --profile soak --no-capture -E 'test(in_ninety_days)'
fi
if [ "${CALLS:=1}" != 0 ]; then
  say "== every call broken once"
  CHAOS_EVERY=1 PACKAGES="--package slipway" scripts/test.sh --release --profile soak -E 'test(chaos::f)'
fi
