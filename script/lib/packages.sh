# shellcheck shell=bash
# Shared by the scripts: Debian's packages, installed where they are missing. To be sourced.

# Runs a command as root: directly, or with sudo.
as_root() {
    if [[ $(id -u) -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

# Whether packages can be installed here.
can_install() {
    command -v apt-get >/dev/null && { [[ $(id -u) -eq 0 ]] || command -v sudo >/dev/null; }
}

# Installs packages of Debian's.
install_packages() {
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" >/dev/null
}
