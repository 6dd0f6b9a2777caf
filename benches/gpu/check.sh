#!/usr/bin/env bash
# Proves windtunnel on this machine's CUDA device, from built binaries, in under eight minutes.
#
#   benches/gpu/check.sh [--bin DIR] [--out DIR] [--data DIR] [--only PART …] [--seconds-budget 470] [--smoke]
#
# The binaries come from benches/gpu/build.sh (target/gpu). PyTorch beside us needs a python3 that has torch:
# name it in PYTHON. Status 0: nothing failed; 1: something did; 2: bad arguments. See README.md beside this file.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
if ! command -v "$python" >/dev/null; then
  echo "$python: not found; check.sh needs Python 3.9 or later: install it, or name one in PYTHON" >&2
  exit 2
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$python" "$here/check.py" "$@"
