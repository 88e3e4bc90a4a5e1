# Everything CI checks, in the order of what fails fastest; one closing line of counts.

PASSED=0 FAILED=0 SKIPPED=0

# dev_test [FILTER]: with a filter, only the cargo tests whose name contains it.
dev_test() {
    mkdir -p target
    # A line of `CRATE::TEST<tab>REASON` for each test that could not run (tests/support/skip.rs).
    export OCINIT_SKIPS=$ROOT/target/skips
    : >"$OCINIT_SKIPS"
    if [ $# -gt 0 ]; then
        cargo_tests "$@"
    else
        local before
        before=$(tree_state) || before=
        check format cargo fmt --check
        check clippy cargo clippy --quiet --features host --all-targets -- -D warnings
        check documentation documentation
        check 'fuzz targets' fuzz_targets
        check build ./dev build
        cargo_tests
        check size ./dev size
        check_tree "$before"
    fi
    closing_lines
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

# documentation: links in doc comments lead somewhere, those between private items too.
documentation() {
    RUSTDOCFLAGS='-D rustdoc::broken_intra_doc_links -A rustdoc::private_intra_doc_links' \
        cargo doc --quiet --no-deps --features host --document-private-items -p ocinit -p ocinit-decompress
}

# fuzz_targets: the crate in fuzz/ compiles. Only linking takes libFuzzer, whose build would need a C++ compiler: with a
# path to a library of somebody's own it is not built.
fuzz_targets() {
    CUSTOM_LIBFUZZER_PATH=/nonexistent/libfuzzer.a CARGO_TARGET_DIR=$(target_dir)/fuzz-check \
        cargo check --quiet --locked --manifest-path fuzz/Cargo.toml
}

# cargo_tests [FILTER…]: all of them, and adds up what each test binary says at its end.
cargo_tests() {
    local log=target/test.log status=0 line
    printf '\n== cargo test\n'
    cargo test --features host -p ocinit -p ocinit-decompress --no-fail-fast -- "$@" 2>&1 | tee "$log" || status=$?
    while read -r line; do
        [[ $line =~ ([0-9]+)\ passed\;\ ([0-9]+)\ failed\;\ ([0-9]+)\ ignored ]] || continue
        PASSED=$((PASSED + BASH_REMATCH[1]))
        FAILED=$((FAILED + BASH_REMATCH[2]))
        skip_tests "${BASH_REMATCH[3]}" ignored
    done < <(grep '^test result:' "$log")
    # What doesn't compile has no result line of its own.
    if [ "$status" != 0 ] && ! grep -q '^test result: FAILED' "$log"; then
        FAILED=$((FAILED + 1))
    fi
    # A test that replaces its program's standard output hides what the others came to.
    local lost
    lost=$(($(grep -c '^running [0-9]* test' "$log") - $(grep -c '^test result:' "$log")))
    if [ "$status" = 0 ] && [ "$lost" -gt 0 ]; then
        printf 'dev: %d test programs ended without a result\n' "$lost"
        FAILED=$((FAILED + lost))
    fi
    # libtest counts a test that has skipped itself as passed.
    local skipped
    skipped=$(sed -n '/^dev: /!s/\t.*//p' "$OCINIT_SKIPS" | sort -u | wc -l)
    PASSED=$((PASSED - skipped))
    SKIPPED=$((SKIPPED + skipped))
}

# skip_tests COUNT REASON: so many that were not run; their names are not known here.
skip_tests() {
    local number
    for ((number = 0; number < $1; number++)); do
        SKIPPED=$((SKIPPED + 1))
        printf 'dev: %s\t%s\n' "$SKIPPED" "$2" >>"$OCINIT_SKIPS"
    done
}

# tree_state: what git knows of files that differ from the last commit, by name and content; false without a checkout.
tree_state() {
    [ -e "$ROOT/.git" ] || return 1
    git status --porcelain && git diff HEAD --binary | sha256sum
}

# check_tree BEFORE: a test run leaves the checkout as it was.
check_tree() {
    if [ -z "$1" ] && [ ! -e "$ROOT/.git" ]; then
        skip_tests 1 "no git checkout: whether files have changed is not known"
        return
    fi
    check 'unchanged files' same_tree "$1"
}

same_tree() {
    local after
    # A git that cannot tell is no checkout that is clean.
    after=$(tree_state) && [ -n "$1" ] && diff <(printf '%s\n' "$1") <(printf '%s\n' "$after")
}

# closing_lines: why tests were skipped, each reason once with its count; then the counts.
closing_lines() {
    if [ -s "$OCINIT_SKIPS" ]; then
        printf '\nskipped:\n'
        sort -u "$OCINIT_SKIPS" | cut -f2 | sort | uniq -c
    fi
    printf '\n%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
}
