#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The library exports what its version script lists and nothing else, each with a version, and needs
# no C++ runtime. Usage: exports-test.sh LIBRARY VERSION_SCRIPT
set -eu
listed=$(sed -n 's/^ *\([a-z_][a-z0-9_]*\);$/\1/p' "$2" | sort)
exported=$(nm -D --defined-only "$1" |
    sed -n 's/^[0-9a-f]* [TWVDBi] \([^@]*\)@@*STM_[0-9.]*$/\1/p' | sort)
if [ "$listed" != "$exported" ]; then
    echo "listed in $2: $listed"
    echo "exported by $1: $exported"
    exit 1
fi
# Only what stands for functions of the C library has no version, so that it does so in every
# object.
others=$(nm -D --defined-only "$1" | grep -v -e '@@*STM_' -e ' A STM_' |
    grep -vwE -e 'execve|execv|execvpe|execvp|execl|execle|execlp|execveat|fexecve' \
    -e 'pthread_sigmask|sigprocmask|sighold|sigrelse|sigblock|sigsetmask' \
    -e 'close|close_range|closefrom|sigaction|__sigaction|signal|__sysv_signal|sysv_signal' \
    -e 'bsd_signal|ssignal|siginterrupt|sigset|sigignore' || true)
[ -z "$others" ] || { echo "exported without a version: $others"; exit 1; }
needed=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
case $needed in *stdc++*) echo "needs $needed"; exit 1 ;; esac
readelf -d "$1" | grep -q 'SONAME.*\[libstm\.so\.0\]' || {
    echo 'the SONAME is not libstm.so.0'
    exit 1
}
# Its handlers, and what it does at a thread's end, stay when a program unloads it.
readelf -d "$1" | grep -q 'FLAGS_1.*NODELETE' || { echo 'it can be unloaded'; exit 1; }
