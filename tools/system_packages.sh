#!/bin/sh
# Install the Debian or Ubuntu packages named as arguments, as far as they are missing and this user may.
set -eu
missing=""
for package in "$@"; do
    if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" != "installed" ]; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0
as_root=""
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root="sudo"
    else
        echo "These system packages are missing and this user may not install them:$missing" >&2
        echo "Ask an administrator for:  apt-get install$missing" >&2
        command -v xvfb-run >/dev/null || exit 1
        exit 0
    fi
fi
echo "Installing system packages:$missing"
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
