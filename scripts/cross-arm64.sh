#!/bin/bash
# Cross-compiles the addon for 64-bit ARM Linux with Debian's g++-aarch64-linux-gnu, packs @pcqat/linux-arm64-gnu, and, where
# qemu-aarch64 is there, runs the kernel tests (scalar and NEON) under it.
set -euo pipefail
cd "$(dirname "$0")/.."

generator=()
if command -v ninja >/dev/null; then generator=(-G Ninja); fi
cmake -S . -B build-arm64 "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DPCQAT_CUDA=OFF \
  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ >/dev/null
cmake --build build-arm64 --parallel
aarch64-linux-gnu-readelf -h build-arm64/pcqat.node | grep -q 'Machine: *AArch64'
node scripts/pack.mjs --platform linux-arm64-gnu --addon build-arm64/pcqat.node --strip aarch64-linux-gnu-strip

if command -v qemu-aarch64-static >/dev/null; then
  cmake --build build-arm64 --parallel --target pcqat_kernels_test
  qemu-aarch64-static -L /usr/aarch64-linux-gnu build-arm64/pcqat_kernels_test
else
  echo 'qemu-aarch64-static is not installed: built, but not run.'
fi
