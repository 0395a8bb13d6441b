#!/bin/sh
# Prints the CMake arguments that llama.cpp needs on this machine; usually none.
#
# GCC takes the tile configuration of llama.cpp's AMX kernels for stores that nobody reads and drops
# it (ggml-org/llama.cpp#20824); the library then crashes at its first decode on a CPU with AMX.
# Without the two passes that remove such stores it is well. Other compilers and CPUs need no flag.
set -eu

compiler=${CXX:-c++}
is_gcc=no
if "$compiler" --version 2>/dev/null | head -n 1 | grep -qiE 'gcc|g\+\+|free software foundation' \
    || { echo 'x' | "$compiler" -dM -E -x c++ - 2>/dev/null | grep -q __GNUC__ \
    && ! echo 'x' | "$compiler" -dM -E -x c++ - 2>/dev/null | grep -q __clang__; }; then
    is_gcc=yes
fi

if [ "$is_gcc" = yes ] && grep -qs amx_tile /proc/cpuinfo; then
    flags='-fno-tree-dse -fno-dse'
    echo "-DCMAKE_C_FLAGS='$flags' -DCMAKE_CXX_FLAGS='$flags'"
fi
