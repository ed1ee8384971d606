#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# An installed copy serves a C and a C++ program, found through pkg-config and through find_package,
# shared and static. Usage: install-test.sh BUILD_DIR SOURCE_DIR C_COMPILER CXX_COMPILER
set -eu
build=$1 source=$2 cc=$3 cxx=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cmake --install "$build" --prefix "$folder/prefix" >install.log || { cat install.log; exit 1; }

# The copy must work where it lies, and must not lean on the source.
pc=$(find prefix -name stm.pc)
PKG_CONFIG_PATH=$folder/$(dirname "$pc")
export PKG_CONFIG_PATH
unset PKG_CONFIG_SYSROOT_DIR || true
# From its root on: a folder may be called as one that is installed, /stm.
named="(^|[^[:alnum:]_.-])($source|$build)([^[:alnum:]_.-]|\$)"
if grep -rlE -e "$named" prefix/include prefix/lib* 2>/dev/null |
    grep -v '\.so\|\.a$'; then
    echo 'these name the folders of the build'
    exit 1
fi

cat >program.c <<'END'
#include <stdio.h>
#include <stm/ioctl.h>
#include <stm/shm.h>
#include <stm/ssmem.h>
#include <stm/stm.h>
int main(void) {
    char name[] = "name";
    printf("%s %d %d %ld %d\n", stm_version(), stm_open("", 0, 0, 0), shm_create(0),
           ssmem_attach(name, -1, 1), STM_ABI_MAJOR);
    return 0;
}
END
cp program.c program.cc
expected='0.1.0 -1 -1 -1 1'

check() {
    got=$(LD_LIBRARY_PATH=$library ./"$1")
    [ "$got" = "$expected" ] || { echo "$1 printed '$got'"; exit 1; }
}

library=$(pkg-config --variable=libdir stm)
strict='-Wall -Wextra -Wshadow -Wpedantic -Wconversion -Werror'
for standard in c99 c11 c17; do
    "$cc" -std=$standard $strict program.c -o by-pkg-config $(pkg-config --cflags --libs stm)
    check by-pkg-config
done
for standard in c++11 c++17 c++20; do
    "$cxx" -std=$standard $strict program.cc -o by-pkg-config $(pkg-config --cflags --libs stm)
    check by-pkg-config
done
# <stm/stm.hpp>, which needs C++20. Without the module it says why.
cat >typed.cc <<'END'
#include <cstdio>
#include <stm/stm.hpp>
int main() try {
    struct root { stm::map<int, long> all; stm::queue<int> some; stm::string text; };
    auto region = stm::region::create("name", 65536);
    stm::atomically(region, [&](stm::transaction& tx) {
        auto& r = region.root<root>();
        r.all.insert(tx, 1, r.some.pop(tx));
    });
} catch (const std::system_error& error) {
    std::printf("%d\n", error.code() == std::errc::no_such_device);
}
END
"$cxx" -std=c++20 $strict typed.cc -o typed $(pkg-config --cflags --libs stm)
[ "$(STM_DEVICE=/dev/null LD_LIBRARY_PATH=$library ./typed)" = 1 ]
# Static, by a C compiler alone.
"$cc" program.c -o static $(pkg-config --cflags stm) "$library/libstm.a" -lpthread
check static
[ "$(pkg-config --modversion stm)" = 0.1.0 ]

mkdir project
cat >project/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.25)
project(user C CXX)
find_package(stm 0.1 REQUIRED)
add_executable(by-cmake-c ../program.c)
target_link_libraries(by-cmake-c PRIVATE stm::stm)
add_executable(by-cmake-c++ ../program.cc)
target_link_libraries(by-cmake-c++ PRIVATE stm::stm)
add_executable(by-cmake-static ../program.c)
target_link_libraries(by-cmake-static PRIVATE stm::static)
END
if ! { cmake -S project -B project/build -DCMAKE_PREFIX_PATH="$folder/prefix" \
        -DCMAKE_C_COMPILER="$cc" \
        -DCMAKE_CXX_COMPILER="$cxx" && cmake --build project/build; } >cmake.log 2>&1; then
    cat cmake.log
    exit 1
fi
for program in by-cmake-c by-cmake-c++ by-cmake-static; do
    check "project/build/$program"
done

# The installed tools find the library beside them.
STM_DEVICE=/dev/null prefix/bin/stmctl --version | grep -q 0.1.0
status=0
STM_DEVICE=/dev/null prefix/bin/stmctl ls 2>message || status=$?
[ $status = 3 ] && grep -q 'insmod stm.ko' message

# DESTDIR is honoured.
DESTDIR=$folder/stage cmake --install "$build" --prefix /opt/stm >>install.log
[ -e stage/opt/stm/include/stm/stm.h ] && [ -e stage/opt/stm/include/stm/detail/attempt.hpp ]
[ -e stage/opt/stm/lib/python3/dist-packages/stm.py ] && [ -x stage/opt/stm/bin/stmctl ]
