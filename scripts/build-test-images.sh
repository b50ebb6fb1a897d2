#!/usr/bin/env bash
# Builds the images the tests deploy and pushes them to a registry.
#
#   build-test-images.sh HOST:PORT
#
# slipway-test/app:1 and :2 differ in a label, so that their digests do; :floor is one more digest that nothing else
# pulls; :arm64 says that it is for another platform.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
registry=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$(static_binary testapp slipway-testapp)" "$work/app"
image() {
  printf 'FROM scratch\nCOPY app /app\nLABEL slipway-test=%s\nEXPOSE 8080\nENTRYPOINT ["/app"]\n' "$1" >"$work/Dockerfile"
  DOCKER_BUILDKIT=0 docker build --quiet "${@:2}" --tag "slipway-test/app:$1" "$work" >/dev/null 2>&1
}
for tag in 1 2 floor; do image "$tag"; done

# The classic builder has no platforms: the image is taken apart and its configuration says the other one.
docker save slipway-test/app:1 | tar -xf - -C "$work" --one-top-level=image
python3 - "$work/image" <<'PY'
import hashlib, json, os, sys
top = sys.argv[1]
manifest = json.load(open(f"{top}/manifest.json"))
config = json.load(open(f"{top}/{manifest[0]['Config']}"))
config["architecture"] = "arm64"
text = json.dumps(config)
name = hashlib.sha256(text.encode()).hexdigest() + ".json"
open(f"{top}/{name}", "w").write(text)
manifest[0].update(Config=name, RepoTags=["slipway-test/app:arm64"])
json.dump(manifest, open(f"{top}/manifest.json", "w"))
if os.path.exists(f"{top}/repositories"):
    os.remove(f"{top}/repositories")
PY
tar -cf - -C "$work/image" . | docker load --quiet >/dev/null
[ "$(docker image inspect --format '{{.Architecture}}' slipway-test/app:arm64)" = arm64 ] || die "The image for another platform was not made."

for tag in 1 2 floor arm64; do push "slipway-test/app:$tag" "$registry/slipway-test/app:$tag"; done
# What stays on the engine would make pulls unnecessary; :1 stays for the test of local images.
docker rmi slipway-test/app:2 slipway-test/app:floor slipway-test/app:arm64 >/dev/null
