# In a chroot `/` is no mount, which `ip netns` and the tests' own namespaces want it to be.

# mount_root COMMAND…: in a chroot, runs ./dev COMMAND again where the root is a mount, in a mount namespace of its own.
mount_root() {
    if mountpoint -q / || [ "$(id -u)" != 0 ]; then return; fi
    say "dev: this is a chroot: / becomes a mount for the tests"
    local place
    place=$(mktemp -d)
    # shellcheck disable=SC2016
    exec unshare --mount --propagation unchanged sh -ec '
        place=$1 directory=$2
        shift 2
        mount --rbind / "$place"
        mount --make-rprivate "$place"
        exec chroot "$place" /bin/sh -c "cd \"\$0\" && exec ./dev \"\$@\"" "$directory" "$@"
    ' sh "$place" "$ROOT" "$@"
}
