#!/bin/sh
# Prints the CMake arguments that llama.cpp needs on this machine; usually none.
#
# GCC drops the AMX tile configuration in llama.cpp's kernels (ggml-org/llama.cpp#20824), and the
# library then crashes at its first decode on a CPU with AMX. Building without AMX is well and as
# fast. All three flags are needed; other compilers and other CPUs need none of them.
set -eu

compiler=${CXX:-c++}
is_gcc=no
if "$compiler" --version 2>/dev/null | head -n 1 | grep -qiE 'gcc|g\+\+|free software foundation' \
    || { echo 'x' | "$compiler" -dM -E -x c++ - 2>/dev/null | grep -q __GNUC__ \
    && ! echo 'x' | "$compiler" -dM -E -x c++ - 2>/dev/null | grep -q __clang__; }; then
    is_gcc=yes
fi

if [ "$is_gcc" = yes ] && grep -qs amx_tile /proc/cpuinfo; then
    flags='-mno-amx-tile -mno-amx-int8 -mno-amx-bf16'
    echo "-DCMAKE_C_FLAGS='$flags' -DCMAKE_CXX_FLAGS='$flags'"
fi
