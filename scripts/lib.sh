# Functions shared by the scripts: what is missing, what must run, and how what we started is stopped again.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
run_dir=$root/.run
# Where cargo builds, unless told otherwise.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
command -v rustc >/dev/null || { echo "There is no Rust compiler: install one with https://rustup.rs, then run this again." >&2; exit 1; }
host_target=$(rustc -vV | sed -n 's/^host: //p')

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# install PACKAGE… : what is missing, on Debian and Ubuntu; elsewhere says what is needed and stops.
install() {
  local missing=() p
  for p in "$@"; do dpkg -s "$p" >/dev/null 2>&1 || missing+=("$p"); done
  [ ${#missing[@]} = 0 ] && return
  if ! command -v apt-get >/dev/null; then
    die "This machine is neither Debian nor Ubuntu. Please install: ${missing[*]} (or what they are called here), then run this again."
  fi
  if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null && [ ! -t 0 ]; then
    die "Please run: sudo apt-get install ${missing[*]}"
  fi
  say "Installing with apt: ${missing[*]}"
  # A cluster of the distribution's own is not wanted: each run makes one of its own.
  if [[ " ${missing[*]} " = *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    as_root mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# has COMMAND PACKAGE… : installs the packages when the command is not there.
has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || install "${@:2}"; }

postgres_bin() { { ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null || true; } | sort -V | tail -n 1; }

free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])' 2>/dev/null || shuf -i 20000-40000 -n 1; }

# wait_for SECONDS WHAT COMMAND… : until the command succeeds.
wait_for() {
  local seconds=$1 what=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || die "$what did not get ready within $seconds seconds."
    sleep 0.1
  done
}

# answers_or_ended PID : whether the engine answers, or its process is no more.
answers_or_ended() { docker version || ! kill -0 "$1"; }

# start_engine DIR : a Docker engine, if none answers. What we started has its pid in DIR/dockerd.pid.
start_engine() {
  docker version >/dev/null 2>&1 && return
  if [ -d /run/systemd/system ]; then
    say "Starting the Docker engine (systemctl start docker)"
    as_root systemctl start docker
  else
    [ "$(id -u)" = 0 ] || die "No Docker engine answers. Start it, or let this user into the group docker."
    say "Starting a Docker engine; its log is $1/dockerd.log"
    mkdir -p "$1"
    # A pid file of an engine that was killed would keep the new one from starting.
    if [ -f /var/run/docker.pid ] && ! kill -0 "$(cat /var/run/docker.pid)" 2>/dev/null; then rm -f /var/run/docker.pid; fi
    [ -z "${DOCKER_HOST:-}" ] || die "No engine answers at DOCKER_HOST=$DOCKER_HOST. Start that one, or unset the variable."
    setsid "$(command -v dockerd || echo /usr/sbin/dockerd)" --live-restore >"$1/dockerd.log" 2>&1 </dev/null &
    local engine=$!
    echo "$engine" >"$1/dockerd.pid"
    wait_for 60 "The Docker engine" answers_or_ended "$engine"
    if ! docker version >/dev/null 2>&1; then
      rm "$1/dockerd.pid"
      die "The Docker engine ended: $(tail -n 1 "$1/dockerd.log")"
    fi
  fi
  wait_for 60 "The Docker engine" docker version
}

# start_registry DIR PORT : Debian's docker-registry with a password (ci / registry-password).
start_registry() {
  local dir=$1 port=$2
  mkdir -p "$dir"
  if [ -f "$dir/registry.pid" ] && kill -0 "$(cat "$dir/registry.pid")" 2>/dev/null; then return; fi
  htpasswd -Bbn ci registry-password >"$dir/htpasswd"
  cat >"$dir/registry.yml" <<YML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $dir/registry}, delete: {enabled: true}}
http: {addr: 127.0.0.1:$port}
auth: {htpasswd: {realm: registry, path: $dir/htpasswd}}
YML
  setsid docker-registry serve "$dir/registry.yml" >"$dir/registry.log" 2>&1 </dev/null &
  echo $! >"$dir/registry.pid"
  wait_for 30 "The registry" curl -fsS -u ci:registry-password "http://127.0.0.1:$port/v2/"
}

# stop_pid FILE COMMAND : ends the process whose pid is in the file, if it is there and still runs that command.
stop_pid() {
  local pid
  [ -f "$1" ] || return 0
  pid=$(cat "$1")
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]; then kill "$pid" 2>/dev/null || true; fi
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  rm -f "$1"
}

# built_program : prints the path of the slipway that was built last.
built_program() {
  # Mostly one of the two was never built, which `ls` takes for a failure.
  { ls -t "$CARGO_TARGET_DIR"/{debug,release}/slipway 2>/dev/null || true; } | head -n 1 | grep .
}

# stop_helpers : ends the registry and the Docker engine that `make run` started.
stop_helpers() {
  stop_pid "$run_dir/registry/registry.pid" docker-registry
  if [ -f "$run_dir/dockerd.pid" ]; then
    say "Stopping the Docker engine that \`make run\` started; its containers run on (live restore)."
    stop_pid "$run_dir/dockerd.pid" dockerd
  fi
}

# static_binary DIR NAME : builds an example as one static file and prints its path.
static_binary() {
  RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR="$CARGO_TARGET_DIR/examples" \
    cargo build --quiet --release --locked --target "$host_target" --manifest-path "$root/examples/$1/Cargo.toml"
  echo "$CARGO_TARGET_DIR/examples/$host_target/release/$2"
}

# push SOURCE TARGET : pushes an image with the registry's password, and leaves no login behind.
push() {
  local config host=${2%%/*}
  config=$(mktemp -d)
  echo registry-password | docker --config "$config" login --username ci --password-stdin "$host" >/dev/null 2>&1
  docker tag "$1" "$2"
  docker --config "$config" push --quiet "$2" >/dev/null
  docker rmi "$2" >/dev/null
  rm -r "$config"
}
