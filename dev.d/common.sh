# Functions that all subcommands use.

say() { printf '%s\n' "$*" >&2; }

die() {
    say "dev: $*"
    exit 1
}

# as_root COMMAND…: runs it as root, or fails and names the command.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root is needed: run as root: $*"
    fi
}

# host_tool ARGUMENT…: runs the host tool, built with the profile of the tests so that it is built once.
host_tool() {
    cargo build --quiet --features host --bin ocinit-host
    "$(target_dir)/debug/ocinit-host" "$@"
}

target_dir() { printf '%s\n' "${CARGO_TARGET_DIR:-$ROOT/target}"; }
