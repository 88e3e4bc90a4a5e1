# What every part uses.

say() { printf '%s\n' "$*" >&2; }

die() {
    say "dev: $*"
    exit 1
}

# as_root COMMAND…: runs it with root's rights, or says what should have been run.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root is needed: run as root: $*"
    fi
}

# host_tool ARGUMENT…: the host tool, in the profile the tests build it in.
host_tool() {
    cargo build --quiet --features host --bin ocinit-host
    "$(target_dir)/debug/ocinit-host" "$@"
}

target_dir() { printf '%s\n' "${CARGO_TARGET_DIR:-$ROOT/target}"; }
