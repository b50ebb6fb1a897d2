#!/usr/bin/env bash
# Installs what is missing, on Debian and Ubuntu, and says what; elsewhere names it and stops.
#
#   setup.sh run     what the platform and its example need
#   setup.sh test    also what the tests need
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# The linker, and the static C library for the examples.
has cc build-essential
has curl curl
has python3 python3
# An engine that answers may be of another make than Debian's: it is taken as it is.
docker version >/dev/null 2>&1 || { has docker docker.io; has dockerd docker.io iptables; }
[ -n "$(postgres_bin)" ] || install postgresql
has docker-registry docker-registry
has htpasswd apache2-utils

if [ "${1:-run}" = test ]; then
  # The engine that tests start, stop and kill is one of their own.
  has dockerd docker.io iptables
  has ip iproute2
  has faketime faketime
  # A CA that speaks ACME, a name server with its tools, a resolver, a mail server.
  has pebble pebble
  has knotd knot
  has kdig knot-dnsutils
  has unbound unbound
  has msmtpd msmtp-mta
  has psql postgresql-client
  has busybox busybox-static
  # What backups are opened with where there is no Slipway.
  has age age
  has zstd zstd
  docker compose version >/dev/null 2>&1 || has docker-compose docker-compose
  if ! cargo nextest --version >/dev/null 2>&1; then
    say "Installing cargo-nextest with cargo"
    cargo install --quiet --locked cargo-nextest
  fi
fi
