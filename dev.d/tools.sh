# The smaller subcommands: each calls a tool that does the work.

# dev_boot [IMAGE] [OPTION OF THE HOST TOOL…] [-- OPTION…]: builds the release and boots it.
dev_boot() {
    dev_build
    local release=target/ocinit/x86_64
    host_tool boot --init "$release/ocinit" --payload "$release/ocinit-payload" "$@"
}

# dev_size [--write]: measures the release; fails if it is over size-report/budget.toml. The report goes to
# target/size-report, or with --write to size-report/.
dev_size() {
    [ -e target/ocinit/x86_64/initramfs.cpio.xz ] || dev_build
    host_tool size "$@"
}

dev_bench() {
    [ $# -gt 0 ] || die "give the name of a benchmark: $(cd benches 2>/dev/null && echo *.rs | sed 's/\.rs//g')"
    local name=$1
    shift
    case $name in
        pull) dev_setup "${BENCH_PULL[@]}" ;;
        lease) dev_setup "${BENCH_LEASE[@]}" ;;
    esac
    dev_build
    cargo bench --profile dev --features host --bench "$name" -- "$@"
}

# dev_where ADDR… [ARCH]: looks the addresses up in the unstripped twin of the last build.
dev_where() {
    local arch=x86_64 addresses=() word
    for word in "$@"; do
        if [[ $word =~ ^(0[xX])?[0-9a-fA-F]+$ ]]; then addresses+=("$word"); else arch=$word; fi
    done
    [ ${#addresses[@]} -gt 0 ] || die "give an address: the console's line about the crash has it"
    local twin=target/ocinit/$arch/ocinit.debug
    [ -e "$twin" ] || die "$twin is missing: run ./dev build $arch"
    addr2line --exe "$twin" --functions --demangle --inlines --pretty-print "${addresses[@]}"
}
