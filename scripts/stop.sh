#!/usr/bin/env bash
# Stops what `make run` started. The apps run on, if their Docker engine was there before.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ -d "$run_dir" ] || die "There is nothing to stop: \`make run\` has not run here."
if [ -f "$run_dir/env" ]; then
  . "$run_dir/env"
  program=$(built_program) || die "The program is not built any more, and the platform may run: \`cargo build --package slipway\`, then this again."
  "$program" down
fi
stop_helpers
say "To be rid of everything, the apps and their data too: make uninstall"
