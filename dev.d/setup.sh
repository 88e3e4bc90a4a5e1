# What the work needs beyond cargo and git.

# Installed as packages: none of them starts a service.
PACKAGES=(
    gcc libc6-dev musl-tools binutils                # the builds
    cpio xz-utils zstd bzip2 kmod                    # the initramfs, packed test data
    qemu-system-x86 e2fsprogs fdisk iproute2         # the tests' machines, disks, networks
    dnsmasq-base openssl skopeo umoci                # the tests' real parts
    squashfs-tools erofs-utils                       # layers that need no unpacking
    openssl                                          # keys and signatures of another maker
    golang-github-containers-common python3-seccomp  # podman's filter of system calls, libseccomp's program
    libcap2 libseccomp2 libnettle8 ca-certificates   # what the unpacked ones load
    libcrypt1 libpcre2-8-0 libssl3 zlib1g            # the same, nginx
    libacl1 libdbus-1-3 libgssapi-krb5-2 libkrb5-3 liblzo2-2 # the same, nfs-ganesha and btrfs
)

# Unpacked into target/tools: as installed packages these would start a service,
# and chrony would remove the machine's own time daemon. `program package`.
UNPACKED=("docker-registry docker-registry" "chronyd chrony" "nginx nginx" "tinyproxy tinyproxy-bin")

# The same, but tests that want them are skipped without: a library's name has a version in it.
OPTIONAL=(
    "ganesha.nfsd nfs-ganesha nfs-ganesha-vfs libnfsidmap1 libntirpc4.3 liburcu8 libwbclient0"
    "mkfs.btrfs btrfs-progs" "mkfs.vfat dosfstools" "mcopy mtools"
)

# The same as UNPACKED for `./dev bench pull` alone: `program package…`, with the libraries it may lack.
BENCH_PULL=(
    "time time" "debootstrap debootstrap" "podman podman conmon crun libsubid4 libsemanage2 libyajl2 libglib2.0-0"
    "igzip isal libisal2" "libdeflate-gzip libdeflate-tools libdeflate0" "pigz pigz"
)

# dev_setup [PAIR…]: what every part needs, and these.
dev_setup() {
    command -v cargo >/dev/null || die "cargo is missing: install rustup (its default profile)"
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        setup_elsewhere "$@"
        return
    fi
    local missing
    missing=$(missing_packages)
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086
        install_packages $missing
    fi
    local pair
    for pair in "${UNPACKED[@]}" "$@"; do
        # shellcheck disable=SC2086
        unpack_tool $pair
    done
    for pair in "${OPTIONAL[@]}"; do
        # shellcheck disable=SC2086
        (unpack_tool $pair) || say "setup: going on without ${pair%% *}"
    done
}

missing_packages() {
    local package
    for package in "${PACKAGES[@]}"; do
        printf '%s\n' "$package"
    done | grep -vxF -f <(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' | sed -n 's/^.i. *//p') || true
}

install_packages() {
    say "setup: installing $*"
    known_packages "$@" || as_root apt-get update -q
    apt_install "$@" && return
    # Lists that know the package may still be older than the archive.
    as_root apt-get update -q
    apt_install "$@" || die "apt-get could not install: $*"
}

known_packages() {
    [ "$(apt-cache show --no-all-versions "$@" 2>/dev/null | grep -c '^Package:')" -ge $# ]
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -q --no-install-recommends "$@" >&2
}

# unpack_tool PROGRAM PACKAGE…
unpack_tool() {
    # `command -v` would find the shell's own `time`.
    type -P "$1" >/dev/null && return
    shift
    say "setup: unpacking $* into target/tools"
    fetch_packages "$ROOT/target/tools" "$@" || die "apt-get could not download $*"
}

# fetch_packages DIR PACKAGE…: downloads and unpacks them; nothing is installed.
fetch_packages() {
    local dir=$1 deb
    shift
    mkdir -p "$dir/debs"
    known_packages "$@" || as_root apt-get update -q
    (cd "$dir/debs" && apt-get download -q -o APT::Sandbox::User=root "$@") >&2 || return 1
    for deb in "$dir"/debs/*.deb; do
        dpkg -x "$deb" "$dir"
    done
    rm -rf "$dir/debs"
}

# setup_elsewhere [PAIR…]: no Debian; what is missing is told by the names of its programs, each once.
setup_elsewhere() {
    local program missing=()
    for program in gcc musl-gcc objcopy cpio xz zstd depmod qemu-system-x86_64 mkfs.ext4 sfdisk ip \
        dnsmasq skopeo umoci mksquashfs mkfs.erofs openssl perl docker-registry chronyd nginx tinyproxy "${@%% *}"; do
        type -P "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} -eq 0 ] || die "please install what brings these programs: ${missing[*]}"
}
