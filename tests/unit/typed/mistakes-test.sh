#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Usage: mistakes-test.sh COMPILER MISTAKES.cc INCLUDE_FOLDER…
# The compiler refuses each mistake of the file, and says what its line expects of it.
set -u
compiler=$1
file=$2
shift 2
includes=
for folder; do
	includes="$includes -I$folder"
done
failed=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

compile() {
	# shellcheck disable=SC2086
	"$compiler" -std=c++20 -Wall -Wextra -Werror $includes "$@" 2>&1
}
mistake() {
	compile -fsyntax-only -include "$folder/all.hpp" -DMISTAKE="$1" "$file"
}

# What it includes is compiled once.
grep '^#include' "$file" >"$folder/all.hpp"
compile -x c++-header "$folder/all.hpp" -o "$folder/all.hpp.gch" || exit 1

if ! said=$(mistake 0); then
	echo "without a mistake it does not compile either:"
	echo "$said"
	exit 1
fi
for number in $(sed -n 's/^#.*if MISTAKE == \([0-9]*\).*/\1/p' "$file"); do
	expected=$(sed -n "s|^#.*if MISTAKE == $number // expect: ||p" "$file")
	if said=$(mistake "$number"); then
		echo "mistake $number compiles"
		failed=1
	else
		case $said in
		*"$expected"*) ;;
		*)
			echo "mistake $number: the compiler does not say '$expected':"
			echo "$said" | grep error
			failed=1
			;;
		esac
	fi
done
exit $failed
