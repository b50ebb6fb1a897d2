#!/usr/bin/env bash
# Stops what `make run` started. The apps run on, if their Docker engine was there before.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
if [ -f "$run_dir/env" ]; then
  . "$run_dir/env"
  for program in "$CARGO_TARGET_DIR/debug/slipway" "$CARGO_TARGET_DIR/release/slipway"; do
    if [ -x "$program" ]; then
      "$program" down
      # Without the engine, which is stopped below where it is ours, nothing can be removed from it.
      first='' last=''
      if [ -f "$run_dir/dockerd.pid" ]; then first='make run && ' last='make stop && '; fi
      say "To be rid of everything, the apps too: $first. .run/env && $program uninstall --delete-data && ${last}rm -r .run"
      break
    fi
  done
fi
stop_pid "$run_dir/registry/registry.pid"
if [ -f "$run_dir/dockerd.pid" ]; then
  say "Stopping the Docker engine that \`make run\` started; its containers run on (live restore)."
  stop_pid "$run_dir/dockerd.pid"
fi
