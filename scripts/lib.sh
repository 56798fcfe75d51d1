# What the scripts share: installing what they need, and saying so. Source it.
# Each script stands in the repository's root when it has sourced this file.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
PYTHON=${PYTHON:-/usr/bin/python3}

say() { printf '%s: %s\n' "${0##*/}" "$*"; }

need_root() {
    if [ "$(id -u)" -ne 0 ]; then
        say "error: this needs root, because it makes network namespaces" >&2
        say "hint: sudo $0" >&2
        exit 1
    fi
}

# Learn which Debian packages there are, if this script has not yet.
learn_packages() {
    [ -n "${learnt:-}" ] || apt-get update -qq
    learnt=1
}

# Install the Debian packages that are missing among those named.
need_packages() {
    local missing=() package
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
            grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    learn_packages
    # Services of these packages are for the namespaces: none is started on this host.
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        made=1
    fi
    local status=0
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || status=$?
    [ -z "$made" ] || rm -f $policy
    return $status
}

# Unpack Debian packages that are not to be installed: need_unpacked DIR PACKAGE...
# Their services would be enabled, and run on this host from its next boot on.
need_unpacked() {
    local directory=$1 download package
    shift
    [ -d "$directory" ] && return
    say "unpacking into $directory: $*"
    download=$(mktemp -d)
    learn_packages
    (cd "$download" && apt-get download -qq -o APT::Sandbox::User=root "$@")
    rm -rf "$directory.part"
    for package in "$download"/*.deb; do
        dpkg-deb -x "$package" "$directory.part"
    done
    mv "$directory.part" "$directory"
    rm -rf "$download"
}

# Make or update a virtual environment: need_venv DIR REQUIREMENT...
need_venv() {
    local venv=$1
    shift
    if [ ! -x "$venv/bin/pip" ]; then
        say "making the virtual environment $venv"
        "$PYTHON" -m venv "$venv"
    fi
    say "installing into $venv: $*"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}

# Build the wheel from nothing, so that no file of an earlier build is in it.
build_wheel() {
    rm -rf build dist ./*.egg-info server/*.egg-info
    "$1/bin/pip" wheel --quiet --disable-pip-version-check --no-deps -w dist .
    rm -rf build ./*.egg-info server/*.egg-info
    wheel=$(echo dist/spassh-*.whl)
}
