#!/bin/sh
# Debian packages that engines and tests need and a bare machine lacks, and those that are named. Quiet when all are there.
set -eu
missing=
for package in libnuma1 rsync openssh-client curl "$@"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "Please install:$missing" >&2
  exit 0
fi
apt-get -qq update
# shellcheck disable=SC2086  (a list of words)
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
