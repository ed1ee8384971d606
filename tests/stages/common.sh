# SPDX-License-Identifier: GPL-2.0
# For the scripts beside it: each is one stage of a lab on transactional memory. They say what they
# do, do it, and check what came out. With STM_TOUR=1 they print that as Markdown: docs/tour.md is
# made of it (tests/stages/tour).
set -u
export LC_ALL=C
PATH=${STM_BUILD_DIR:+$STM_BUILD_DIR/bin:$STM_BUILD_DIR/examples:}$PATH:/sbin:/usr/sbin
export PATH
failures=0
output=

tour() { [ "${STM_TOUR:-0}" = 1 ]; }

# title WORDS: what the stage is about.
title() {
    if tour; then printf '\n## %s\n' "$1"; else printf '== %s\n' "$1"; fi
}

# say WORDS: a paragraph.
say() {
    tour && echo
    printf '%s\n' "$1" | tr -s '\n ' '  ' | sed 's/ $/\n/' | fold -s -w 98 |
        if tour; then sed 's/ $//'; else sed 's/^/# /; s/ $//'; fi
}

# run COMMAND: has the shell do it and shows it, as a user would see it. What it wrote is in
# $output.
run() {
    tour && printf '\n```console\n'
    printf '$ %s\n' "$1"
    output=$(eval "$1" 2>&1)
    status=$?
    [ -z "$output" ] || printf '%s\n' "$output"
    tour && printf '```\n'
}

# expect PATTERN: a line of the last output matches the extended regular expression. refuse PATTERN:
# none does.
expect() {
    printf '%s\n' "$output" | grep -Eq -e "$1" || wrong "no line like: $1"
}
refuse() {
    ! printf '%s\n' "$output" | grep -Eq -e "$1" || wrong "a line like: $1"
}
# expect_status NUMBER: of the last command.
expect_status() {
    [ "$status" = "$1" ] || wrong "exit status $status instead of $1"
}

wrong() {
    printf 'FAILED: %s\n' "$1" >&2
    failures=$((failures + 1))
}

end() {
    [ "$failures" = 0 ] || exit 1
    tour || echo "ok"
    exit 0
}

node=/tmp/lab
tour || node=/tmp/lab.$$
trap 'rm -f "$node" "$node".*' EXIT
