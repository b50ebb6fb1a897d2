#!/usr/bin/env bash
# Starts the platform on this machine and deploys the example app to it: what to see first.
#
# Everything it makes lies in .run/ (stop it with `make stop`). Run again, it keeps what runs, takes a newly built
# program into use and deploys the example once more. `RELEASE=1 make run` builds with all optimisations.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$root/scripts/setup.sh" run
mkdir -p "$run_dir"
start_engine "$run_dir"

cd "$root"
if [ "${RELEASE:-}" = 1 ]; then
  say "Building slipway (release profile)"
  cargo build --release --locked --package slipway
  programs=$CARGO_TARGET_DIR/release
else
  say "Building slipway (dev profile; RELEASE=1 make run for the release profile)"
  cargo build --locked --package slipway
  programs=$CARGO_TARGET_DIR/debug
fi

port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The settings of the first run hold for all later ones: a platform does not move by itself.
settings=$run_dir/env
if [ ! -f "$settings" ]; then
  data=$run_dir/data http=0.0.0.0:8080 https=0.0.0.0:8443
  if [ "$(id -u)" = 0 ]; then
    if port_free 80 && port_free 443; then http=0.0.0.0:80 https=0.0.0.0:443; fi
    # The private Postgres runs as another user, who must be able to walk to its directory.
    if ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$run_dir"; then
      data=/var/lib/slipway
      say "Other users cannot reach $root: the platform keeps its data in $data."
    fi
  fi
  cat >"$settings" <<ENV
# Settings of the platform that \`make run\` started; .run/client has them too
export SLIPWAY_DATA_DIR='$data'
export SLIPWAY_HTTP_LISTEN=$http
export SLIPWAY_HTTPS_LISTEN=$https
export SLIPWAY_API_LISTEN=${SLIPWAY_API_LISTEN:-127.0.0.1:7070}
export SLIPWAY_ADMIN_LISTEN=${SLIPWAY_ADMIN_LISTEN:-127.0.0.1:7071}
export SLIPWAY_PROXY_ADMIN_LISTEN=${SLIPWAY_PROXY_ADMIN_LISTEN:-127.0.0.1:7072}
export SLIPWAY_NETWORK_POOL=${SLIPWAY_NETWORK_POOL:-10.210.0.0/16}
ENV
  # The engine that the images are built on is the one that runs them.
  if [ -n "${DOCKER_HOST:-}" ]; then echo "export SLIPWAY_DOCKER_HOST=$DOCKER_HOST" >>"$settings"; fi
fi
. "$settings"

# A program that was built anew takes the place of the one that runs; the apps do not notice.
sum=$(sha256sum <"$programs/slipway")
if [ "$(cat "$run_dir/program.sum" 2>/dev/null)" != "$sum" ]; then "$programs/slipway" down >/dev/null; fi
"$programs/slipway" up --detach >/dev/null
echo "$sum" >"$run_dir/program.sum"

api=http://$SLIPWAY_API_LISTEN
token_file=$SLIPWAY_DATA_DIR/admin.token
cat >"$run_dir/client" <<ENV
# For the command line: . .run/client
. '$settings'
export SLIPWAY_URL=$api
export SLIPWAY_TOKEN="\$(cat '$token_file')"
export PATH='$programs':"\$PATH"
ENV

registry_dir=$run_dir/registry
if ! { [ -f "$registry_dir/registry.pid" ] && kill -0 "$(cat "$registry_dir/registry.pid")" 2>/dev/null; }; then
  rm -f "$registry_dir/registry.pid"
  mkdir -p "$registry_dir"
  # The same port as before, if it is free: images are known by it.
  port=$(cat "$registry_dir/port" 2>/dev/null || echo 5000)
  port_free "$port" || port=$(free_port)
  echo "$port" >"$registry_dir/port"
fi
registry=127.0.0.1:$(cat "$registry_dir/port")
start_registry "$registry_dir" "${registry#*:}"

say "Building the example's image and pushing it to $registry"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp examples/hello/Dockerfile "$work/"
cp "$(static_binary hello slipway-hello)" "$work/hello"
docker build --quiet --tag slipway-example/hello:1 "$work" >"$run_dir/image.log" 2>&1 || die "$(cat "$run_dir/image.log")"
push slipway-example/hello:1 "$registry/hello:1"

# The token goes in by standard input: a command line can be read by everybody on the machine.
call() {
  printf 'header = "Authorization: Bearer %s"\n' "$(cat "$token_file")" |
    curl --silent --show-error --config - --write-out '\n%{http_code}' "$@"
}
# why : the sentence in a problem or in a deployment that failed, and else all of it.
why() {
  python3 -c 'import json, sys
text = sys.stdin.read()
try:
    told = json.loads(text)
    print(told.get("detail") or told["reason"]["message"])
except (ValueError, KeyError, TypeError, AttributeError):
    print(text)'
}
expect() {
  local what=$1 answer
  shift
  answer=$(call "$@")
  case ${answer##*$'\n'} in
    2??) ;;
    401) die "the token in $token_file is not valid any more: remove the file, \`make stop\`, and run again for a new one" ;;
    *) die "$what failed: $(why <<<"${answer%$'\n'*}")" ;;
  esac
}
expect "Storing the registry's password" --request PUT --header 'content-type: application/json' \
  --data '{"username":"ci","password":"registry-password"}' "$api/v1/registries/$registry"
# What the example needs is in its manifest; without it the platform would only see an open port.
client() { SLIPWAY_URL=$api SLIPWAY_TOKEN=$(cat "$token_file") "$programs/slipway" --quiet "$@"; }
client apps show hello >/dev/null 2>&1 || client apps create hello
client spec set examples/hello/slipway.toml --app hello --stage
expect "The deploy" --request POST \
  --max-time 130 "$api/v1/deploy?image=$registry/hello:1&wait=120s"

https_port=${SLIPWAY_HTTPS_LISTEN##*:}
host=hello.apps.localhost
url=https://$host
[ "$https_port" = 443 ] || url=$url:$https_port
root_ca=$SLIPWAY_DATA_DIR/ca/root.pem
page=$(curl --silent --show-error --fail --cacert "$root_ca" --resolve "$host:$https_port:127.0.0.1" "$url/")
case $page in *"Hello from a container"*) ;; *) die "The example answered something else: $page" ;; esac

cat <<SCREEN

Slipway runs, and the example answers over HTTPS.

  The example   $url/
                curl --cacert $root_ca --resolve $host:$https_port:127.0.0.1 $url/
  API           $api   (reference: $api/docs)
  Admin token   $token_file

Try next:
  . .run/client                  # puts slipway on the PATH and its token in place
  slipway status --app hello
  slipway deploy $registry/hello:1
  slipway logs --app hello
An image of your own, without a registry: docker build -t mine:1 . && slipway deploy --local mine:1

Stop everything but the apps with \`make stop\`; take everything away with \`make uninstall\`.
SCREEN
