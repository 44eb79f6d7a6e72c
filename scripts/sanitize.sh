#!/bin/bash
# Builds the native core with the address and undefined-behaviour sanitizers and runs its C++ tests and the tests that reach it.
# Leaks are not looked for: Node itself leaves memory to the system at exit.
set -euo pipefail
cd "$(dirname "$0")/.."

generator=()
if command -v ninja >/dev/null; then generator=(-G Ninja); fi
cmake -S . -B build-sanitize "${generator[@]}" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO='-O1 -g' \
  -DPCQAT_CUDA=OFF -DPCQAT_SANITIZE=ON >/dev/null
cmake --build build-sanitize --parallel
cmake --build build-sanitize --parallel --target pcqat_kernels_test

export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
build-sanitize/pcqat_kernels_test
npm run --silent build:ts
npm run --silent build:test
PCQAT_ADDON=$PWD/build-sanitize/pcqat.node LD_PRELOAD=$(gcc -print-file-name=libasan.so) \
  node node_modules/mocha/bin/mocha.js --config .mocharc.native.json "$@"
