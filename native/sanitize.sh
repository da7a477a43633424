#!/usr/bin/env bash
# The kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer.
# Usage: native/sanitize.sh [pytest arguments]; needs the package's test dependencies.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$root"/{snnc,tests,models,pyproject.toml} "$work"
rm -rf "$work/snnc/lib"
cmake -S "$root/native" -B "$work/build" -DSNNC_SANITIZE=ON >/dev/null
cmake --build "$work/build" --parallel 2 >/dev/null
cmake --install "$work/build" --prefix "$work" >/dev/null
cd "$work"
if [ $# -eq 0 ]; then set -- tests/test_kernels.py tests/test_native_*.py tests/test_rate_neurons.py; fi
# onnxruntime and python keep memory until they exit: leaks are not what is looked for here
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)" \
  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
  python -m pytest -p no:cacheprovider -n auto "$@"
