#!/bin/sh
# All checks that need an accelerator, in at most 8 minutes, from a bare machine with torch:
#
#     sh benchmarks/accelerator.sh OUTPUT_DIR [WHEELS]
#
# WHEELS is a folder with what is not installed there (snntorch and the like), for machines without
# a network. OUTPUT_DIR/accelerator.json tells what passed, and the times; the exit status is 0 if
# all passed. ACCELERATOR_OPTIONS is passed on: "--quick" rehearses everything on a small network,
# also on a CPU.
set -eu
out=${1:?"usage: accelerator.sh OUTPUT_DIR [WHEELS]"}
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -n "${2:-}" ]; then
    python -m pip install --quiet --no-index --find-links "$2" --no-deps "$2"/*.whl
fi
mkdir -p "$out"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# What was compiled stays beside the results: a second run within the same budget does more.
export TORCHINDUCTOR_CACHE_DIR="${TORCHINDUCTOR_CACHE_DIR:-$out/compiled}"
exec timeout 480 python "$root/benchmarks/accelerator_checks.py" --output-dir "$out" \
    ${ACCELERATOR_OPTIONS:-}
