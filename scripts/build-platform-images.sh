#!/usr/bin/env bash
# Builds stand-ins, out of this machine's own files, for the two images that the platform's containers are made from:
#
#   slipway-test/base:1       for debian:bookworm-slim: a C library and a few commands
#   slipway-test/postgres:1   for postgres:NN: the same variables, user, volume and signal as the official image has; also
#                             under its major version
#
#   build-platform-images.sh [HOST:PORT]   pushes the last one to a registry as well
#
# For tests and for machines without a registry; no substitute for the real ones, which get security updates.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bin=$(postgres_bin)
[ -n "$bin" ] || die "PostgreSQL is not installed."
share=$("$bin/pg_config" --sharedir 2>/dev/null || echo "/usr/share/postgresql/$(basename "$(dirname "$bin")")")
busybox=$(command -v busybox) || die "busybox-static is not installed."

# tree ROOT PROGRAM… : a root file system with the programs, what they are linked to, and busybox for everything else.
tree() {
  local root=$1 name
  shift
  mkdir -p "$root"/{etc,root,run,proc,sys,dev,tmp,var/lib,usr/bin,usr/lib64,usr/local/bin} "$root/usr/lib/locale"
  for name in bin sbin lib lib64; do ln -s "usr/${name/sbin/bin}" "$root/$name"; done
  ln -s ../run "$root/var/run"
  ln -s bin "$root/usr/sbin"
  chmod 1777 "$root/tmp"
  cp "$busybox" "$root/usr/bin/busybox"
  for name in sh cat chmod chown env find id ls mkdir sleep stat; do ln -s busybox "$root/usr/bin/$name"; done
  printf 'root:x:0:0::/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\npostgres:x:999:\n' >"$root/etc/group"
  printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
  cp -r /usr/lib/locale/C.utf8 "$root/usr/lib/locale/"
  local library
  # The last two are what a program of Rust needs.
  { ldd "$@" 2>/dev/null || true; for library in libm.so.6 libgcc_s.so.1; do cc -print-file-name=$library; done; } | grep -oE '/[^ ):]+\.so[^ ):]*' | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
}

# image TAG ROOT < Dockerfile without its first two lines
image() {
  tar -C "$2" --numeric-owner --owner=0 --group=0 -cf "$work/root.tar" .
  { printf 'FROM scratch\nADD root.tar /\n'; cat; } >"$work/Dockerfile"
  (cd "$work" && tar -cf - root.tar Dockerfile) | DOCKER_BUILDKIT=0 docker build --quiet --tag "$1" - >/dev/null 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
  rm "$work/root.tar"
}

base=$work/base
tree "$base" /usr/bin/env
mkdir -p "$base/etc/ssl/certs"
image slipway-test/base:1 "$base" <<'DOCKERFILE'
CMD ["/bin/sh"]
DOCKERFILE

database=$work/database
programs=()
for name in postgres initdb createdb pg_dump pg_isready pg_ctl psql; do programs+=("$bin/$name"); done
setpriv=$(command -v setpriv)
modules=$("$bin/pg_config" --pkglibdir 2>/dev/null || echo "$(dirname "$bin")/lib")
mapfile -t libraries < <(find "$modules" -name '*.so' ! -name 'llvmjit*')
tree "$database" "${programs[@]}" "${libraries[@]}" "$setpriv"
mkdir -p "$database$bin" "$database$modules" "$database$(dirname "$share")" "$database/usr/share/zoneinfo"
cp "${programs[@]}" "$database$bin/"
cp "$setpriv" "$database/usr/bin/"
cp "${libraries[@]}" "$database$modules/"
cp -rL "$share" "$database$share"
cp -L /usr/share/zoneinfo/{UTC,tzdata.zi} "$database/usr/share/zoneinfo/" 2>/dev/null || cp -rL /usr/share/zoneinfo/Etc "$database/usr/share/zoneinfo/"
cat >"$database/usr/local/bin/docker-entrypoint.sh" <<'ENTRYPOINT'
#!/bin/sh
# As the official image does it: made on the first start by POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD,
# POSTGRES_INITDB_ARGS and POSTGRES_HOST_AUTH_METHOD; as root only until the directories belong to the server's user.
set -eu
case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 0700 "$PGDATA"
  chmod 3775 /var/run/postgresql
  chown -R postgres:postgres "$PGDATA" /var/run/postgresql
  exec /usr/bin/setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
    echo "Set POSTGRES_PASSWORD, or POSTGRES_HOST_AUTH_METHOD=trust." >&2
    exit 1
  fi
  printf '%s\n' "${POSTGRES_PASSWORD:-unused}" >/tmp/password
  # Several words, as the official image takes them.
  initdb --username="$user" --pwfile=/tmp/password --auth-local=trust ${POSTGRES_INITDB_ARGS:-}
  : >/tmp/password
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
  if [ "${POSTGRES_DB:-$user}" != postgres ]; then
    pg_ctl --wait --options="-c listen_addresses=" start
    createdb --username="$user" --maintenance-db=postgres "${POSTGRES_DB:-$user}"
    pg_ctl --wait --mode=fast stop
  fi
fi
exec "$@"
ENTRYPOINT
chmod 755 "$database/usr/local/bin/docker-entrypoint.sh"
image slipway-test/postgres:1 "$database" <<DOCKERFILE
ENV PATH=/usr/local/bin:/usr/bin:/bin:$bin LANG=C.UTF-8 PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["postgres"]
DOCKERFILE

major=$("$bin/postgres" --version | grep -oE '[0-9]+' | head -n 1)
docker tag slipway-test/postgres:1 "slipway-test/postgres:$major"
[ -z "${1:-}" ] || push "slipway-test/postgres:$major" "$1/slipway-test/postgres:$major"
