#!/bin/sh
# Runs the compiler for run.sh with libFuzzer's counters in the code of this workspace. Build scripts
# and macros run while building, where nobody reads the counters.
compiler=$1
shift
case " $* " in
*' --crate-name build_script_'* | *' --crate-type proc-macro '*) exec "$compiler" "$@" ;;
esac
exec "$compiler" "$@" \
    -C passes=sancov-module \
    -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
    -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares \
    -C codegen-units=1
