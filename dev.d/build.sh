# The release build: std is rebuilt for musl without panic messages and with short
# Debug output, which halves the binary (the numbers are in size-report/).

# dev_build [ARCH]: writes target/ocinit/ARCH/{ocinit,ocinit.debug,initramfs.cpio.xz}, and
# ocinit-payload, which tests and the demo run in containers.
dev_build() {
    local arch out
    arch=$(known_arch "${1:-x86_64}")
    out=$ROOT/target/ocinit/$arch
    mkdir -p "$out"
    build_init "$arch" "$out"
    host_tool build --init "$out/ocinit" --output "$out/initramfs.cpio.xz" >&2
    say "build: $arch: ocinit $(stat -c %s "$out/ocinit") bytes," \
        "initramfs.cpio.xz $(stat -c %s "$out/initramfs.cpio.xz") bytes"
}

known_arch() {
    case $1 in
        x86_64) printf '%s\n' "$1" ;;
        aarch64 | arm64 | armv7 | armhf) die "no release build for $1 yet: x86_64 is there" ;;
        *) die "no such architecture: $1" ;;
    esac
}

# build_init ARCH DIR: the binary and its unstripped twin.
build_init() {
    local arch=$1 out=$2 target binary
    if find_toolchain; then
        target=$arch-unknown-linux-musl
        build_small "$target"
    else
        target=$arch-unknown-linux-gnu
        say "build: neither rust-src nor Debian's rustc-web can be used: a plain static build, about twice as large"
        build_plain "$target"
    fi
    for binary in ocinit ocinit-payload; do
        install -m 755 "$(target_dir)/$target/release/$binary" "$out/$binary.debug"
        # Nothing unwinds, so the tables for unwinding, which libc and the assembler code bring, are removed too.
        # But not .debug_gdb_scripts: main reads its first byte, and dies where that begins a page that is not there.
        objcopy --strip-all -R .comment -R .eh_frame "$out/$binary.debug" "$out/$binary"
    done
}

# find_toolchain: sets TOOLCHAIN_ENV to a compiler with the source of its standard library.
find_toolchain() {
    local rustc
    for rustc in "$(rustup which --toolchain nightly rustc 2>/dev/null)" "$(rustup which rustc 2>/dev/null)"; do
        if [ -n "$rustc" ] && has_source "$rustc" && aborts_at_once "$rustc"; then
            TOOLCHAIN_ENV=("RUSTC=$rustc")
            return
        fi
    done
    debian_toolchain
}

has_source() { [ -e "$("$1" --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]; }

aborts_at_once() { RUSTC_BOOTSTRAP=1 "$1" -Cpanic=immediate-abort -Zunstable-options --print cfg >/dev/null 2>&1; }

# debian_toolchain: Debian's compiler in a directory of its own. An installed rustc-web would conflict with rustup.
debian_toolchain() {
    local dir=$ROOT/target/toolchain/debian
    local rustc=$dir/usr/bin/rustc libs=$dir/usr/lib/$(uname -m)-linux-gnu
    if [ ! -e "$dir/complete" ]; then
        command -v apt-get >/dev/null || return 1
        say "build: unpacking Debian's rustc-web into target/toolchain"
        rm -rf "$dir"
        # The package lists may name an older compiler. Without root the update fails, but the download may work.
        (as_root apt-get update -q >&2) || true
        # shellcheck disable=SC2046
        fetch_packages "$dir" $(needed_for rustc-web rust-web-src libstd-rust-web-dev) || return 1
        LD_LIBRARY_PATH=$libs "$rustc" --version >&2 || return 1
        touch "$dir/complete"
    fi
    LD_LIBRARY_PATH=$libs aborts_at_once "$rustc" || return 1
    TOOLCHAIN_ENV=("RUSTC=$rustc" "LD_LIBRARY_PATH=$libs")
}

# needed_for PACKAGE…: these packages, and those of their dependencies that are not installed.
needed_for() {
    {
        printf '%s\n' "$@"
        apt-get install --simulate --no-install-recommends "$@" | sed -n 's/^Inst \([^ ]*\).*/\1/p'
    } | sort -u
}

# What LLVM is told beside "z", which alone merges whatever is called once, to functions with frames of kilobytes: a
# word of such a frame takes three bytes more in each instruction than one of the first 128 bytes. And a value of up to
# 64 bytes is copied by eight instructions of up to eight bytes, where a call would be half of it. Together 23 KB of the
# initramfs. The words are LLVM's own, and may change with it.
LLVM_WORDS=(
    -inline-max-stacksize=48
    -max-store-memcpy=2 -max-store-memmove=2 -max-store-memset=2
)

# build_small TARGET: builds with TOOLCHAIN_ENV, and rebuilds std.
build_small() {
    local links=target/toolchain/links sysroot
    # shellcheck disable=SC2016
    sysroot=$(env "${TOOLCHAIN_ENV[@]}" sh -c '"$RUSTC" --print sysroot')
    mkdir -p "$links"
    # std links an unwinder by this name; nothing here unwinds, and libgcc has the other functions.
    echo 'INPUT ( -lgcc )' >"$links/libunwind.a"
    local flags=(
        -Cpanic=immediate-abort -Zunstable-options
        # Not `none`: rustls describes what is wrong with a certificate by Debug only.
        -Zlocation-detail=none -Zfmt-debug=shallow -Cforce-unwind-tables=no
        -Crelocation-model=static -Ctarget-feature=+crt-static
        -Clinker=musl-gcc -Clink-self-contained=no "-Lnative=$links"
        -Clink-arg=-Wl,--no-eh-frame-hdr,-z,norelro,-z,noseparate-code,--build-id=none
        # src/sys/p256.rs and curve25519.rs in the place of tables of 150 and 24 KB, chacha20_poly1305.rs of 40 KB.
        -Clink-arg=-Wl,--wrap=ring_core_0_17_14__p256_point_mul_base
        -Clink-arg=-Wl,--wrap=ring_core_0_17_14__p256_point_mul_base_vartime
        -Clink-arg=-Wl,--wrap=ring_core_0_17_14__x25519_ge_scalarmult_base
        -Clink-arg=-Wl,--wrap=ring_core_0_17_14__x25519_public_from_private_generic_masked
        -Clink-arg=-Wl,--wrap=ring_core_0_17_14__chacha20_poly1305_seal_sse41
        -Clink-arg=-Wl,--wrap=ring_core_0_17_14__chacha20_poly1305_seal_avx2
        -Clink-arg=-Wl,--wrap=ring_core_0_17_14__chacha20_poly1305_open_sse41
        -Clink-arg=-Wl,--wrap=ring_core_0_17_14__chacha20_poly1305_open_avx2
        # cargo passes paths below the repository relative to it.
        "--remap-path-prefix=${sysroot#"$ROOT"/}/lib/rustlib/src/rust=/rust"
    )
    local word
    for word in "${LLVM_WORDS[@]}"; do
        env "${TOOLCHAIN_ENV[@]}" "RUSTC_BOOTSTRAP=1" sh -c '"$RUSTC" "$1" --print cfg' - "-Cllvm-args=$word" \
            >/dev/null 2>&1 || { say "build: this LLVM does not know $word: some KB larger" && continue; }
        flags+=("-Cllvm-args=$word")
    done
    cargo_release "$1" "${TOOLCHAIN_ENV[@]}" RUSTC_BOOTSTRAP=1 \
        -- -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size
}

build_plain() {
    local flags=(-Ctarget-feature=+crt-static -Crelocation-model=static)
    cargo_release "$1" --
}

# cargo_release TARGET VARIABLE=VALUE… -- ARGUMENT…: takes the compiler's flags from the caller's array `flags`.
# No path of the host gets into the binary, and its date is that of the last commit: same source, same bytes.
cargo_release() {
    local target=$1 variables=()
    shift
    while [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    shift
    local cargo_home=${CARGO_HOME:-$HOME/.cargo} encoded cc=gcc
    [[ $target != *musl ]] || cc=musl-gcc
    # If several prefixes match, the last one is used.
    flags=("--remap-path-prefix=$ROOT=." "--remap-path-prefix=$cargo_home=/cargo" "${flags[@]}")
    encoded=$(IFS=$'\x1f' && printf '%s' "${flags[*]}")
    env "${variables[@]}" "CARGO_ENCODED_RUSTFLAGS=$encoded" \
        "CC_${target//-/_}=$cc" \
        "CFLAGS_${target//-/_}=-fno-asynchronous-unwind-tables -fno-unwind-tables -ffile-prefix-map=$cargo_home=/cargo" \
        "SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)" \
        cargo build --release --locked --bin ocinit --bin ocinit-payload --features payload --target "$target" "$@" >&2
}
