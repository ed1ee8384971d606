#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A story of processes that share regions, told by the commands that make them do it. It needs the
# loaded module and the built examples: ci/vm run -- userspace/examples/demo.sh build/host.
# It fails if anything it shows is not so.
set -eu
build=${1:?usage: demo.sh FOLDER_OF_THE_BUILD}
PATH=$build/bin:$build/examples:$PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '\n%s\n' "$*"; }

# What was written to "shown". No program does it: starting one takes a tenth of a second here.
tell() {
	while IFS= read -r line || [ -n "$line" ]; do
		printf '%s\n' "${line:+    $line}"
	done <"$work/shown"
}

# Shows a command and what it prints, and keeps that for the facts below.
show() {
	printf '  $ %s\n' "$*"
	status=0
	"$@" >"$work/shown" 2>&1 || status=$?
	tell
	[ "$status" = 0 ] || fail "'$*' ended with status $status"
}

fail() {
	printf '\nThis is not as it should be: %s\n' "$*" >&2
	exit 1
}

# fact WHAT PATTERN: a line of what was just shown matches; no_fact: none does.
fact() { grep -Eq -- "$2" "$work/shown" || fail "$1"; }
no_fact() { ! grep -Eq -- "$2" "$work/shown" || fail "$1"; }

# Starts a worker that stays until its input ends or it is killed; WORKER is its process.
start_worker() {
	printf '  $ worker %s &\n' "$*"
	mkfifo "$work/input-$1"
	worker "$@" <"$work/input-$1" >"$work/shown" 2>&1 &
	WORKER=$!
	# Opened for as long as this script lives: the worker waits for its end.
	eval "exec $next_descriptor>\"\$work/input-$1\""
	next_descriptor=$((next_descriptor + 1))
	tries=0
	until grep -q 'the total is' "$work/shown"; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || fail "worker $1 does not start: $(cat "$work/shown")"
		sleep 0.05
	done
	tell
}
next_descriptor=4

# The shell would announce the death of each.
end() {
	signal=$1
	shift
	kill "$signal" "$@"
	wait "$@" 2>/dev/null || true
} 2>/dev/null

say "This is a guest with Linux $(uname -r) and $(nproc) processors; the module stm is loaded:"
show grep stm /proc/devices
fact "the driver is registered" ' stm$'

say "Three runs of one program. It opens a region by its name and adds one to a number in it:"
for visitor in 1 2 3; do
	show counter
	fact "the counter is $visitor" "^visitor $visitor\$"
done

say "Two programs that do not even map the region. One writes a text by write(2), the other reads
it by read(2):"
show board "lunch at noon"
show board
fact "the text is there" '^lunch at noon$'

say "Two processes that run at the same time and know only the region's name. The second one asks
for another address, and sees the same memory there:"
start_worker anna
anna=$WORKER
fact "anna has added a thousand" 'the total is 1000$'
start_worker bert 600000000000
bert=$WORKER
fact "bert sees what anna wrote" '^bert: anna was here before me$'
fact "bert is where he wanted to be" 'mapped at 0x600000000000;'
fact "bert has added to the same total" 'the total is 2000$'
show stmctl attachments workshop
fact "anna is attached" "^ *$anna +worker +mapping"
fact "bert is attached" "^ *$bert +worker +mapping +.* 0x600000000000-"

say "bert is killed. His mapping is gone at once; what he wrote stays:"
printf '  $ kill -9 %s\n' "$bert"
end -9 "$bert"
show stmctl attachments workshop
fact "anna is still attached" "^ *$anna +worker +mapping"
no_fact "bert is not" "^ *$bert "
start_worker carl
carl=$WORKER
fact "carl finds bert's name" '^carl: bert was here before me$'
fact "the total goes on" 'the total is 3000$'

say "A region in use cannot be destroyed:"
printf '  $ stmctl rm workshop\n'
! stmctl rm workshop >"$work/shown" 2>&1 || fail "workshop was destroyed while in use"
tell

say "What the module has counted:"
show stmctl ls
fact "workshop has two mappings" 'plain .* 4K +4K +2 +2 .* workshop$'
fact "nobody uses counter, and it is still there" 'plain .* 4K +4K +0 +0 .* counter$'
show stmctl info workshop
# anna, bert and carl took one fault each; the page is the same for all.
fact "three page faults" '^faults: *3$'
fact "one page" '^resident: *4K '

say "A bank: four processes move money by transactions, auditors count it all the time, and a killer
kills a worker now and then, at any instruction:"
show bank --processes 4 --seconds 2 --kill-rate 10
fact "the bank is right" '^every audit saw all the money$'

say "The same bank with accounts that are ordinary variables in mapped memory. They are changed
through ordinary pointers between stm_start and stm_commit:"
show bank --way transparent --accounts 32 --seconds 2 --kill-rate 10
fact "the bank in mapped memory is right" '^every audit saw all the money$'

say "The same bank with variables of <stm/stm.hpp>. They are read without a system call, and a
transfer is one:"
show bank --way typed --seconds 2 --kill-rate 10
fact "the typed bank is right" '^every audit saw all the money$'

say "The same program in a region to which it commits without a system call. Fifty times in a second
a process is killed, at any instruction:"
show bank --way direct --seconds 2 --kill-rate 50
fact "the direct bank is right" '^every audit saw all the money$'
fact "many were killed" '^ *killed with SIGKILL +[0-9]{2,} '

say "The last two processes end, and the regions are removed:"
end -15 "$anna" "$carl"
for region in workshop counter board; do
	show stmctl rm "$region"
done
show stmctl ls
no_fact "none of them is left" 'workshop|counter|board'
