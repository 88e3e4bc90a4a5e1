# Everything CI checks, in the order of what fails fastest; one closing line of counts.

PASSED=0 FAILED=0 SKIPPED=0

# dev_test [FILTER]: with a filter, only the cargo tests whose name contains it.
dev_test() {
    if [ $# -gt 0 ]; then
        cargo_tests "$@"
    else
        check format cargo fmt --check
        check clippy cargo clippy --quiet --features host --all-targets -- -D warnings
        check build ./dev build
        cargo_tests
        check size ./dev size
    fi
    printf '\n%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
    [ "$FAILED" = 0 ]
}

# check NAME COMMAND…: one check that is no cargo test; a program, since `set -e` is off inside an `if`.
check() {
    local name=$1
    shift
    printf '\n== %s\n' "$name"
    if "$@"; then
        PASSED=$((PASSED + 1))
    else
        printf '%s: failed\n' "$name"
        FAILED=$((FAILED + 1))
    fi
}

# cargo_tests [FILTER…]: all of them, and adds up what each test binary says at its end.
cargo_tests() {
    local log=target/test.log status=0 line
    mkdir -p target
    printf '\n== cargo test\n'
    cargo test --features host -p ocinit -p ocinit-decompress --no-fail-fast -- "$@" 2>&1 | tee "$log" || status=$?
    while read -r line; do
        [[ $line =~ ([0-9]+)\ passed\;\ ([0-9]+)\ failed\;\ ([0-9]+)\ ignored ]] || continue
        PASSED=$((PASSED + BASH_REMATCH[1]))
        FAILED=$((FAILED + BASH_REMATCH[2]))
        SKIPPED=$((SKIPPED + BASH_REMATCH[3]))
    done < <(grep '^test result:' "$log")
    # What doesn't compile has no result line of its own.
    if [ "$status" != 0 ] && ! grep -q '^test result: FAILED' "$log"; then
        FAILED=$((FAILED + 1))
    fi
}
