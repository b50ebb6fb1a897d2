#!/usr/bin/env bash
# Takes away all that `make run` made: the platform, its apps and their data, the registry and its images. It asks
# before; `YES=1 make uninstall` does not.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ -f "$run_dir/env" ] || die "There is nothing to take away: \`make run\` has not run here."
. "$run_dir/env"
if [ -d "$SLIPWAY_DATA_DIR" ]; then
  if [ ! -t 0 ] && [ -z "${YES:-}" ]; then die "Nobody can be asked here: YES=1 make uninstall, if you mean it."; fi
  program=$(built_program) || die "The program is not built any more: run \`cargo build --package slipway\`, then this again."
  # What lies on an engine that `make stop` stopped can only be removed while it runs.
  start_engine "$run_dir"
  "$program" uninstall --delete-data ${YES:+--yes}
  registry=127.0.0.1:$(cat "$run_dir/registry/port" 2>/dev/null || echo 5000)
  images=$(docker images --digests --format '{{.Repository}}@{{.Digest}}' "$registry/*" | grep sha256 || true)
  # Unquoted, for there may be several; one that somebody else's container uses stays.
  docker rmi slipway-example/hello:1 $images >/dev/null 2>&1 || true
fi
stop_helpers
rm -r "$run_dir"
