# The smaller subcommands: each is a line or two over a tool that does the work.

# dev_boot [IMAGE] [OPTION OF THE HOST TOOL…] [-- OPTION…]: boots what was just built.
dev_boot() {
    dev_build
    local release=target/ocinit/x86_64
    host_tool boot --init "$release/ocinit" --payload "$release/ocinit-payload" "$@"
}

# dev_size [--write]: what the release consists of; fails when it is over size-report/budget.toml. The report goes to
# target/size-report, and with --write to size-report/.
dev_size() {
    [ -e target/ocinit/x86_64/initramfs.cpio.xz ] || dev_build
    host_tool size "$@"
}

dev_bench() {
    [ $# -gt 0 ] || die "which bench? there are: $(cd benches 2>/dev/null && echo *.rs | sed 's/\.rs//g')"
    local name=$1
    shift
    [ "$name" != pull ] || dev_setup "${BENCH_PULL[@]}"
    dev_build
    cargo bench --profile dev --features host --bench "$name" -- "$@"
}

# dev_where ADDR… [ARCH]: asks the unstripped twin of the last build.
dev_where() {
    local arch=x86_64 addresses=() word
    for word in "$@"; do
        if [[ $word =~ ^(0[xX])?[0-9a-fA-F]+$ ]]; then addresses+=("$word"); else arch=$word; fi
    done
    [ ${#addresses[@]} -gt 0 ] || die "which address? the console line of the crash has it"
    local twin=target/ocinit/$arch/ocinit.debug
    [ -e "$twin" ] || die "$twin is not there: ./dev build $arch"
    addr2line --exe "$twin" --functions --demangle --inlines --pretty-print "${addresses[@]}"
}
