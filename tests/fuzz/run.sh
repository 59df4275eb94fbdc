#!/usr/bin/env bash
# Fuzzes with libFuzzer on the stable toolchain; needs a C++ compiler, and nothing of nightly.
#
#   tests/fuzz/run.sh                 every target for its minutes in minutes.txt
#   tests/fuzz/run.sh TARGET...       only these
#   tests/fuzz/run.sh --keep          afterwards writes what found new code to corpus/, minimised
#
# WEFT_FUZZ_MINUTES=N gives every target N minutes instead; a nightly soak may give hours. Targets
# run beside each other, one a core. An input that fails is left in target/fuzz/TARGET/found; it
# becomes a file in regressions/TARGET in the commit that repairs what it found.
#
# The counters are only in our own crates, by a compiler wrapper: what others wrote is shared with
# the ordinary build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Bytes that libFuzzer may hold before it takes an input for a memory bomb, in MiB.
readonly rss_mb=2048
# Seconds of one input before it counts as hanging: the slowest good one takes a tenth.
readonly timeout_s=20
# Bytes of an input that is kept in the corpus; larger ones teach little.
readonly kept_bytes=4096
# Bytes and inputs of a target that are kept in the corpus, the smallest first.
readonly kept_bytes_all=102400 kept_inputs=200

keep="" targets=()
for word in "$@"; do
    case "$word" in
        --keep) keep=1 ;;
        -h | --help) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) targets+=("$word") ;;
    esac
done
if ((${#targets[@]} == 0)); then
    mapfile -t targets < <(sed -nE 's/^([a-z0-9]+) .*/\1/p' tests/fuzz/minutes.txt)
fi

minutes_of() {
    local minutes
    minutes="$(sed -nE "s/^$1 ([0-9]+)$/\1/p" tests/fuzz/minutes.txt)"
    [[ -n "$minutes" ]] || { echo "tests/fuzz/minutes.txt has no line for $1" >&2; return 2; }
    echo "${WEFT_FUZZ_MINUTES:-$minutes}"
}

export RUSTC_WORKSPACE_WRAPPER="$PWD/tests/fuzz/sancov.sh"
cargo build --workspace --locked --features weft-tests/fuzz --example weft-fuzz
unset RUSTC_WORKSPACE_WRAPPER
build="${CARGO_TARGET_DIR:-target}"
# A copy, which another build does not replace.
mkdir -p "$build/fuzz"
cp "$build/debug/examples/weft-fuzz" "$build/fuzz/weft-fuzz"
# The seeds come from the ordinary test, which makes them of vectors.
WEFT_FUZZ_CORPUS="$PWD/$build/fuzz/seeds" cargo test --workspace --locked --quiet --test fuzz seeds_ >/dev/null

# Fuzzes one target; fails if an input did.
fuzz() {
    local target="$1" folder="$2/$1" minutes
    minutes="$(minutes_of "$target")"
    mkdir -p "$folder/corpus" "$folder/found" "tests/fuzz/corpus/$target" "tests/fuzz/regressions/$target"
    local inputs=("$folder/corpus" "$2/seeds/$target" "tests/fuzz/corpus/$target" "tests/fuzz/regressions/$target")
    if ! WEFT_FUZZ_TARGET="$target" "$2/weft-fuzz" -max_total_time=$((minutes * 60)) -timeout="$timeout_s" \
        -rss_limit_mb="$rss_mb" -print_final_stats=1 -artifact_prefix="$folder/found/" -verbosity=1 \
        "${inputs[@]}" >"$folder/log" 2>&1; then
        tail -n 40 "$folder/log"
        echo "test $target ... FAILED: see $folder/found"
        return 1
    fi
    local runs features
    runs="$(sed -nE 's/^stat::number_of_executed_units: +//p' "$folder/log")"
    features="$(sed -nE 's/.* ft: ([0-9]+) .*/\1/p' "$folder/log" | tail -n 1)"
    echo "test $target ... ok: $minutes min, $runs inputs, $features features"
}
export -f fuzz minutes_of
export rss_mb timeout_s
# Leaves the smallest files of a folder, within the limits of the corpus.
thin() {
    local total=0 count=0 size file
    while read -r size file; do
        total=$((total + size)) count=$((count + 1))
        if ((total > kept_bytes_all || count > kept_inputs)); then rm "$file"; fi
    done < <(find "$1" -type f -printf '%s %p\n' | sort -n)
}

code=0
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'set -euo pipefail; fuzz {} "$1"' _ "$build/fuzz" || code=1

if [[ -n "$keep" && "$code" == 0 ]]; then
    for target in "${targets[@]}"; do
        rm -rf "$build/fuzz/$target/merged"
        mkdir -p "$build/fuzz/$target/merged"
        # What the seeds reach already needs no file.
        cp "$build/fuzz/seeds/$target"/* "$build/fuzz/$target/merged/"
        WEFT_FUZZ_TARGET="$target" "$build/fuzz/weft-fuzz" -merge=1 -max_len="$kept_bytes" \
            "$build/fuzz/$target/merged" "tests/fuzz/corpus/$target" "$build/fuzz/$target/corpus" >/dev/null 2>&1
        rm "$build/fuzz/$target/merged"/seed-*
        thin "$build/fuzz/$target/merged"
        rm -rf "tests/fuzz/corpus/$target"
        mv "$build/fuzz/$target/merged" "tests/fuzz/corpus/$target"
    done
    du -sh tests/fuzz/corpus
fi
exit "$code"
