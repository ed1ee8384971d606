#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The Debian package's list of symbols is what the library exports.
# Usage: symbols-test.sh LIBRARY SYMBOLS_FILE
set -eu
soname=$(readelf -d "$1" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
# A symbol is NAME@VERSION there, and Base is none. A version is a symbol, too.
exported=$(nm -D --defined-only "$1" | sed -n 's/^[0-9a-f]* A \([^@]*\)\(@.*\)*$/\1@\1/p
    s/^[0-9a-f]* [TWVDBRi] \([^@]*\)@@*\(.*\)$/\1@\2/p
    s/^[0-9a-f]* [TWVDBRi] \([^@]*\)$/\1@Base/p' | LC_ALL=C sort)
listed=$(sed -n 's/^ \([^ ]*@[^ ]*\) .*/\1/p' "$2" | LC_ALL=C sort)
libraries=$(sed -n 's/^\(lib[^ ]*\) .*/\1/p' "$2")
[ "$libraries" = "$soname" ] || { echo "$2 is of $libraries, not of $soname alone"; exit 1; }
[ "$listed" = "$exported" ] && exit
name=$(mktemp)
trap 'rm "$name"' EXIT
echo "$exported" >"$name"
echo "$2 (-) is not what $1 exports (+):"
echo "$listed" | diff -U0 - "$name" | grep '^[-+][^-+]'
exit 1
