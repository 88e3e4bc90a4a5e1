# `ip netns` and the tests' own namespaces need `/` to be a mount, which it is not in a chroot.

# mount_root COMMAND…: in a chroot, makes the root a mount in a new mount namespace, and runs ./dev COMMAND there.
mount_root() {
    if mountpoint -q / || [ "$(id -u)" != 0 ]; then return; fi
    say "dev: this is a chroot: / is made a mount for the tests"
    local place
    place=$(mktemp -d)
    # shellcheck disable=SC2016
    exec unshare --mount --propagation unchanged sh -ec '
        place=$1 dir=$2
        shift 2
        mount --rbind / "$place"
        mount --make-rprivate "$place"
        exec chroot "$place" /bin/sh -c "cd \"\$0\" && exec ./dev \"\$@\"" "$dir" "$@"
    ' sh "$place" "$ROOT" "$@"
}
