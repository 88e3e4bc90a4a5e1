# Installs what is needed beside cargo and git.

# The packages to install; none of them starts a service. No list here names a library: its name contains a version,
# which only the package that depends on it knows (libraries_of).
PACKAGES=(
    gcc libc6-dev musl-tools binutils                # the builds
    cpio xz-utils zstd bzip2 kmod                    # the initramfs, packed test data
    qemu-system-x86 e2fsprogs fdisk iproute2         # machines, disks and networks of the tests
    dnsmasq-base openssl skopeo umoci                # servers and tools that the tests compare with
    squashfs-tools erofs-utils                       # layers that are not unpacked
    debootstrap                                      # an image that becomes a machine's root
    openssl                                          # keys and signatures of another implementation
    golang-github-containers-common python3-seccomp  # podman's filter of system calls, libseccomp's program
    ca-certificates                                  # needed by the unpacked registry
)

# Unpacked into target/tools as `program package`: as installed packages these would start a service,
# and chrony would remove the host's own time daemon.
UNPACKED=("docker-registry docker-registry" "chronyd chrony" "nginx nginx" "tinyproxy tinyproxy-bin"
    "radvd radvd")

# The same, but not every distribution has them: without them the tests that need them are skipped. Debian 12 has
# virtiofsd in QEMU's package.
OPTIONAL=(
    "ganesha.nfsd nfs-ganesha nfs-ganesha-vfs" "virtiofsd virtiofsd"
    "mkfs.btrfs btrfs-progs" "mkfs.vfat dosfstools" "mcopy mtools"
)

# As UNPACKED, but only for `./dev bench pull`: `program package…`.
BENCH_PULL=(
    "time time" "debootstrap debootstrap" "podman podman conmon crun"
    "igzip isal" "libdeflate-gzip libdeflate-tools" "pigz pigz"
)

# The same for `./dev bench lease`.
BENCH_LEASE=("busybox busybox" "dhcpcd dhcpcd-base")

# dev_setup [PAIR…]: installs what all subcommands need, and unpacks these pairs too.
dev_setup() {
    command -v cargo >/dev/null || die "cargo is missing: install rustup (its default profile)"
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        setup_elsewhere "$@"
        return
    fi
    local missing
    missing=$(missing "${PACKAGES[@]}")
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
        (unpack_tool $pair) || say "setup: continuing without ${pair%% *}"
    done
}

# missing PACKAGE…: those that are not installed.
missing() {
    printf '%s\n' "$@" | grep -vxF -f <(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' | sed -n 's/^.i. *//p') || true
}

install_packages() {
    say "setup: installing $*"
    known_packages "$@" || as_root apt-get update -q
    apt_install "$@" && return
    # The package lists may name a version that the archive no longer has.
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

# unpack_tool PROGRAM PACKAGE…: unpacks the packages unless the program runs already, and installs its libraries.
unpack_tool() {
    runs "$1" && return
    shift
    say "setup: unpacking $* into target/tools"
    fetch_packages "$ROOT/target/tools" "$@" || die "apt-get could not download $*"
    local libraries
    # shellcheck disable=SC2046
    libraries=$(missing $(libraries_of "$@"))
    # shellcheck disable=SC2086
    [ -z "$libraries" ] || install_packages $libraries
}

# runs PROGRAM: whether the program is there, with all libraries that it loads.
runs() {
    local program libraries=$ROOT/target/tools/usr/lib
    # `command -v` would find the shell's built-in `time`.
    program=$(PATH=$PATH:/usr/lib/qemu:/usr/libexec type -P "$1") || return
    libraries=$libraries/$(uname -m)-linux-gnu:$libraries/ganesha
    # A release upgrade may have removed libraries that a program unpacked before it needs.
    [[ $(LD_LIBRARY_PATH=$libraries ldd "$program" 2>/dev/null) != *"not found"* ]]
}

# libraries_of PACKAGE…: the libraries that these packages depend on; of alternatives the first.
libraries_of() {
    apt-cache show --no-all-versions "$@" | sed -nE 's/^(Pre-)?Depends: //p' | tr ',' '\n' |
        sed -E 's/^ *//; s/[ (|:].*//' | grep -E '^z?lib' | sort -u || true
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

# setup_elsewhere [PAIR…]: on other distributions, lists the programs that are missing.
setup_elsewhere() {
    local program missing=()
    for program in gcc musl-gcc objcopy cpio xz zstd depmod qemu-system-x86_64 mkfs.ext4 sfdisk ip \
        dnsmasq skopeo umoci mksquashfs mkfs.erofs openssl perl docker-registry chronyd nginx tinyproxy radvd \
        "${@%% *}"; do
        type -P "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} -eq 0 ] || die "please install the packages that contain these programs: ${missing[*]}"
}
