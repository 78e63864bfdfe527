# shellcheck shell=bash
# Shared by the scripts that make a release: its tools, each of one version. To be sourced in the repository's top folder.

release_tools=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}/release-tools")
declare -A release_tool_versions=([cargo-auditable]=0.7.7 [cargo-cyclonedx]=0.5.9 [cargo-deb]=3.8.0)

# Builds those of the named tools that are missing, once; that takes minutes.
require_release_tools() {
    local tool
    for tool in "$@"; do
        cargo install --quiet --locked --root "$release_tools" "$tool@${release_tool_versions[$tool]}" \
            2> >(grep --invert-match 'be sure to add\|already installed' >&2 || true)
    done
    PATH=$release_tools/bin:$PATH
}

# Prints the packages that a program tells it is made of, a line each; fails where it tells none.
audit_data() {
    objcopy --dump-section .dep-v0=/dev/stdout "$1" /dev/null | python3 -c '
import json, sys, zlib
for package in json.loads(zlib.decompress(sys.stdin.buffer.read()))["packages"]:
    print(package["name"], package["version"])
'
}
