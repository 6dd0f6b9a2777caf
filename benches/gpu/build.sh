#!/usr/bin/env bash
# Builds what check.sh takes to a machine with a GPU, on one that has none: `windtunnel` and the tests of the device,
# with CUDA compiled in, stripped, and tiny Shakespeare beside them, in target/gpu.
#
#   benches/gpu/build.sh
#
# The kernels need nvcc: that of NVCC, CUDA_HOME, CUDA_PATH or the path, or else a toolkit that
# ../shared/tools/cuda makes of Python packages, where it is there. The text comes from WINDTUNNEL_MIRROR or the network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=target/gpu
most_kib=$((64 * 1024))

find_nvcc() {
  [ -n "${NVCC:-}" ] && return
  for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" target/cuda; do
    if [ -n "$home" ] && [ -x "$home/bin/nvcc" ]; then
      export CUDA_HOME=$home NVCC=$(realpath "$home/bin/nvcc")
      return
    fi
  done
  command -v nvcc >/dev/null && return
  if [ ! -x ../shared/tools/cuda/setup_cuda.sh ]; then
    echo "no nvcc: install the CUDA toolkit, or name it in NVCC or CUDA_HOME" >&2
    exit 2
  fi
  cargo fetch
  ../shared/tools/cuda/setup_cuda.sh "$PWD/target/cuda"
  find_nvcc
}

find_nvcc
mkdir -p "$out"
# Both programs hold the kernels: of two architectures, so that they stay small. A newer device compiles them at its
# first start.
export WINDTUNNEL_CUDA_ARCHS=${WINDTUNNEL_CUDA_ARCHS:-80,90}
# The tests need the program, so that one build makes both.
said=$(cargo test --release --features cuda --test gpu --no-run --message-format=json-render-diagnostics)
for target in windtunnel gpu; do
  made=$(sed -n "s/.*\"name\":\"$target\".*\"executable\":\"\([^\"]*\)\".*/\1/p" <<<"$said" | tail -1)
  [ -n "$made" ] || { echo "cargo named no program called $target" >&2; exit 1; }
  strip -o "$out/$target" "$made"
done

kib=$(du -ck --apparent-size "$out/windtunnel" "$out/gpu" | tail -1 | cut -f1)
if [ "$kib" -gt "$most_kib" ]; then
  echo "$out: $kib KiB together; at most $most_kib travel" >&2
  exit 1
fi

if [ ! -f "$out/data/tinyshakespeare.txt" ]; then
  home=$(mktemp -d)
  trap 'rm -rf "$home"' EXIT
  if "$out/windtunnel" data fetch tinyshakespeare --home "$home" --json >/dev/null; then
    mkdir -p "$out/data"
    cp "$(find "$home" -name tinyshakespeare.txt)" "$out/data/"
  else
    echo "without tinyshakespeare.txt: put it into $out/data, or give check.sh --data" >&2
  fi
fi
echo "$out: $kib KiB of programs; on the machine with the GPU: benches/gpu/check.sh --bin $out"
