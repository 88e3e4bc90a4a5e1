# Fuzzing: each target has an oracle, and so has the comparison of 20 000 random stacks of layers.

FUZZ_LOGS=target/fuzz

# dev_fuzz [SECONDS]: all targets, which share the seconds, and the stacks. dev_fuzz TARGET [SECONDS]: one target.
dev_fuzz() {
    local seconds=600 targets=() cores target share status=0
    if [ "${1:-}" = starts ] || [ "${1:-}" = faults ]; then
        "fuzz_$1"
        return
    fi
    command -v c++ >/dev/null || install_packages g++
    rustup which --toolchain nightly rustc >/dev/null 2>&1 || die "fuzzing needs: rustup toolchain install nightly"
    command -v cargo-fuzz >/dev/null || cargo install --quiet --locked --root target/tools cargo-fuzz
    mapfile -t targets < <(cargo fuzz list)
    if [[ ${1:-} =~ ^[0-9]+$ ]]; then
        seconds=$1
    elif [ $# -gt 0 ]; then
        [[ " ${targets[*]} " == *" $1 "* ]] || die "no target $1; there are: ${targets[*]}"
        targets=("$1") seconds=${2:-60}
    fi
    cargo +nightly fuzz build
    mkdir -p "$FUZZ_LOGS"
    cores=$(nproc)
    share=$((${#targets[@]} > cores ? seconds * cores / ${#targets[@]} : seconds))
    for target in "${targets[@]}"; do
        while [ "$(jobs -rp | wc -l)" -ge "$cores" ]; do wait -n || true; done
        fuzz_target "$target" "$((share > 0 ? share : 1))" &
    done
    wait
    [ ${#targets[@]} = 1 ] || fuzz_stacks
    printf '\n%-10s %10s %8s %8s %9s %9s %12s\n' target runs seconds crashes canaries touched differences
    for target in "${targets[@]}"; do fuzz_row "$target" || status=1; done
    [ ${#targets[@]} = 1 ] || fuzz_stacks_row || status=1
    return "$status"
}

# fuzz_target TARGET SECONDS: starts from the inputs in the repository; new inputs are written beside the log.
fuzz_target() {
    local found=$FUZZ_LOGS/$1 kept=fuzz/corpus/$1 status=0
    say "fuzz: $1 for $2 s"
    mkdir -p "$found"
    cargo +nightly fuzz run "$1" "$found" "$kept" -- "-max_total_time=$2" -max_len=65536 -print_final_stats=1 \
        >"$found.log" 2>&1 || status=$?
    printf 'status: %s\n' "$status" >>"$found.log"
}

# fuzz_stacks: SEED=… continues where another run has ended.
fuzz_stacks() {
    local start=$SECONDS status=0
    say "fuzz: ${STACKS:=20000} stacks of layers, unpacked by ocinit and by umoci"
    STACKS=$STACKS cargo test --features host --test layers random_stacks -- --nocapture \
        >"$FUZZ_LOGS/stacks.log" 2>&1 || status=$?
    printf 'seconds: %s\nstatus: %s\n' "$((SECONDS - start))" "$status" >>"$FUZZ_LOGS/stacks.log"
    grep '^stacks:' "$FUZZ_LOGS/stacks.log" || true
}

# fuzz_starts: processes on one store, killed at random times. STARTS=… is their number, SEED=… the seed.
fuzz_starts() {
    say "fuzz: ${STARTS:=20000} starts"
    STARTS=$STARTS cargo test --features host --test cli crowd:: -- --nocapture | grep -v '^SEED='
}

# fuzz_faults: each system call of some commands fails in turn, and some calls of boots; then prints a table.
# ERRNO=… sets another error than ENOMEM.
fuzz_faults() {
    local log=$FUZZ_LOGS/faults.log status=0
    [ -x target/ocinit/x86_64/ocinit ] || dev_build
    mkdir -p "$FUZZ_LOGS"
    say "fuzz: each system call of a run and of a pull fails in turn: $log"
    FAULTS=all cargo test --features host --no-fail-fast --test faults -- --nocapture >"$log" 2>&1 || status=$?
    say "fuzz: boots of which system calls fail"
    FAULTS=all cargo test --features host --test qemu faults:: -- --nocapture >>"$log" 2>&1 || status=$?
    sed -nE 's/^(test .* )?faults: //p' "$log"
    [ "$status" = 0 ] || { tail -n 80 "$log" >&2 && return 1; }
}

# log_number LOG PATTERN: the number that matches the group of a sed pattern; 0 if no line matches.
log_number() {
    local number
    number=$(sed -nE "s/.*$2.*/\\1/p" "$1" | tail -1)
    printf '%s' "${number:-0}"
}

# fuzz_row TARGET: prints its line of the table; if it failed, prints the log's end and returns false.
fuzz_row() {
    local log=$FUZZ_LOGS/$1.log status touched
    status=$(log_number "$log" 'status: ([0-9]+)')
    touched=$(log_number "$log" 'canaries: [0-9]+ looks, ([0-9]+)')
    printf '%-10s %10s %8s %8s %9s %9s %12s\n' "$1" "$(log_number "$log" 'number_of_executed_units: ([0-9]+)')" \
        "$(log_number "$log" 'runs in ([0-9]+) second')" "$((status != 0))" \
        "$(log_number "$log" 'canaries: ([0-9]+) looks')" "$touched" -
    [ "$status" = 0 ] || { tail -n 40 "$log" >&2 && return 1; }
}

fuzz_stacks_row() {
    local log=$FUZZ_LOGS/stacks.log status
    status=$(log_number "$log" 'status: ([0-9]+)')
    printf '%-10s %10s %8s %8s %9s %9s %12s\n' stacks "$(log_number "$log" 'stacks: ([0-9]+) compared')" \
        "$(log_number "$log" 'seconds: ([0-9]+)')" - "$(log_number "$log" 'canaries: ([0-9]+) looks')" \
        "$(log_number "$log" 'canaries: [0-9]+ looks, ([0-9]+)')" "$(log_number "$log" ', ([0-9]+) differ otherwise')"
    [ "$status" = 0 ] || { tail -n 80 "$log" >&2 && return 1; }
}
