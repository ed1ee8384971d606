#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# scdoc 1.11.5 escapes the hyphens of the date in the title line of a manual page (2026\-11\-30), as
# those of the text. mandoc 1.14.6 does not read that as a date, and its linter warns once for each
# page that scdoc has made. Pages of scdoc 1.11.2 have a date that it can read.
#
# This program formats one page of three lines by two versions of scdoc, on a day that it gives them
# (SOURCE_DATE_EPOCH), and lets mandoc check what comes out. Nothing of this project is used. Seen
# with
#
#   scdoc   1.11.2-1      bookworm      .TH "page" "1" "2026-11-30"      no warning
#   scdoc   1.11.5-1      forky         .TH "page" "1" "2026\-11\-30"    cannot parse date, using it
#                                                                      verbatim: TH 2026\-11\-30
#   mandoc  1.14.6-1+b1   bookworm
#
# mandoc 1.14.6-4+b2 of forky says the same. A project that fails on warnings of `mandoc -T lint`
# has to take the backslashes out of the title line.
#
# Needs a host with Debian's apt and a network. All files are in a temporary folder.
#
# Exit status: 0 it is as seen, 1 it is another way now, 2 it could not run.

set -u -o pipefail
export LC_ALL=C

folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
trap 'exit 2' INT TERM

cannot() {
    echo "could not run: $*" >&2
    exit 2
}

for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || cannot "there is no $tool"
done

# shellcheck disable=SC2016  # These words are apt's.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)' \
    'Created-By: Packages' 2>/dev/null |
    awk '($1 == "Debian" && $2 == "main" && $3 ~ /^[a-z]+$/) { print $4; exit }')
[ -n "$mirror" ] || cannot "this host's apt has no archive of Debian"
signed=
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ ! -e "$keyring" ] || signed="[signed-by=$keyring]"

# unpack SUITE PACKAGE=VERSION…: into the folder SUITE, by lists that the host's apt does not see.
unpack() {
    local suite=$1 own="$folder/apt-$1" user=
    shift
    [ "$(id -u)" != 0 ] || user=root
    mkdir -p "$own/lists/partial" "$own/cache/archives/partial" "$folder/$suite"
    echo "deb $signed $mirror $suite main" >"$own/sources.list"
    cat >"$own/apt.conf" <<END
Dir::State::lists "$own/lists";
Dir::State::status "/dev/null";
Dir::Cache "$own/cache";
Dir::Etc::sourcelist "$own/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64";
#clear APT::Architectures;
APT::Architectures { "amd64"; };
APT::Sandbox::User "$user";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
    apt-get -c "$own/apt.conf" update -qq >"$folder/said" 2>&1 ||
        cannot "no package lists of $suite: $(tail -n 1 "$folder/said")"
    (cd "$own" && apt-get -c "$own/apt.conf" download -qq "$@") >"$folder/said" 2>&1 ||
        cannot "$* of $suite is not to be had: $(tail -n 1 "$folder/said")"
    for deb in "$own"/*.deb; do
        echo "$(dpkg-deb --field "$deb" Package) $(dpkg-deb --field "$deb" Version)  $suite"
        dpkg-deb -x "$deb" "$folder/$suite" || cannot "$deb is no package"
    done
}

# run SUITE PROGRAM ARGUMENT…: with the C library of that suite, which may be newer than the host's.
run() {
    local root="$folder/$1" program="$folder/$1/usr/bin/$2" loader
    shift 2
    loader=$(find "$root" -name ld-linux-x86-64.so.2 -print -quit)
    "$loader" --library-path "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu" \
        "$program" "$@"
}

unpack bookworm scdoc=1.11.2-1 mandoc=1.14.6-1+b1 libc6 zlib1g
unpack forky scdoc=1.11.5-1 libc6

export SOURCE_DATE_EPOCH=1796040000 # 30 November 2026
printf 'page(1)\n\n# NAME\n\npage - one of three lines\n' >"$folder/page.scd"
for suite in bookworm forky; do
    run "$suite" scdoc <"$folder/page.scd" >"$folder/$suite.1" || cannot "scdoc of $suite"
    grep '^\.TH' "$folder/$suite.1"
    run bookworm mandoc -T lint "$folder/$suite.1" >"$folder/$suite.lint" 2>&1
    sed "s|$folder/||g" "$folder/$suite.lint" | grep 'parse date' ||
        echo "    no warning of the date"
done

title() { grep '^\.TH' "$folder/$1.1"; }
if [ "$(title bookworm)" = '.TH "page" "1" "2026-11-30"' ] &&
    [ "$(title forky)" = '.TH "page" "1" "2026\-11\-30"' ] &&
    ! grep -q 'cannot parse date' "$folder/bookworm.lint" &&
    grep -q 'cannot parse date, using it verbatim: TH 2026\\-11\\-30' "$folder/forky.lint"; then
    echo "as seen"
    exit 0
fi
echo "it is another way now"
exit 1
