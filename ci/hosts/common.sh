# SPDX-License-Identifier: GPL-2.0
# For the scripts of this folder: tests in a root that is thrown away, and its kernels. The script
# has set `version`, of the module, and `make_log`, of its build.
# shellcheck shell=sh disable=SC2034,SC2154
work=$(mktemp -d)
log=$work/log
passed=0 failed=0
export DEBIAN_FRONTEND=noninteractive

# check NAME CMD…: one test; what it prints is shown when it fails.
check() {
	name=$1
	shift
	if (set -eu; "$@") >"$log" 2>&1; then
		passed=$((passed + 1))
		echo "ok      $name"
	else
		failed=$((failed + 1))
		echo "FAILED  $name"
		sed 's/^/        /' "$log"
		[ ! -f "$make_log" ] || tail -n 20 "$make_log" | sed 's/^/        make.log: /'
	fi
}

get() {
	apt-get install -qq -y --no-install-recommends "$@"
}

# make_next FOLDER PACKAGE VERSION INTO: the next version of a package, made of that in FOLDER: its
# number is in the names, in the scripts and in the text.
make_next() {
	mkdir "$work/next-$2"
	dpkg-deb -R "$1/$2_${version}"_*.deb "$work/next-$2"
	if [ -d "$work/next-$2/usr/src" ]; then
		mv "$work/next-$2/usr/src/stm-$version" "$work/next-$2/usr/src/stm-$3"
		sed -i "s/$version/$3/" "$work/next-$2/usr/src/stm-$3/dkms.conf"
	fi
	sed -i "s/$version/$3/" "$work/next-$2"/DEBIAN/*
	rm "$work/next-$2/DEBIAN/md5sums"
	dpkg-deb -b "$work/next-$2" "$4/$2_$3.deb"
}

# kernels PATTERN: the releases of kernels that the archive has with headers, oldest first
kernels() {
	apt-cache pkgnames linux-headers- | sed -n "s/^linux-headers-\\($1\\)\$/\\1/p" | sort -V
}

# The state of the module for a kernel: added, built, installed, or nothing.
state() {
	dkms status -m stm -v "$version" -k "$1" | sed -n 's/.*: \([a-z]*\).*/\1/p'
}
is_installed() {
	dkms status
	[ "$(state "$1")" = installed ]
	modinfo -k "$1" stm
	[ "$(modinfo -k "$1" -F vermagic stm | cut -d' ' -f1)" = "$1" ]
	case $(modinfo -k "$1" -F filename stm) in
	/lib/modules/"$1"/updates/*) ;;
	*) return 1 ;;
	esac
}
# Signed, by the key that DKMS has made for this machine.
is_signed() {
	modinfo -k "$1" stm
	[ "$(modinfo -k "$1" -F signer stm)" = 'DKMS module signing key' ]
	key=$(openssl x509 -inform der -in /var/lib/dkms/mok.pub -noout -serial | sed 's/.*=//')
	[ "$(modinfo -k "$1" -F sig_key stm | tr -d ':\n\t ')" = "$key" ]
}

# With BTF of the part in C, where the headers have the kernel's own to build on.
has_btf() {
	ls "/usr/src/linux-headers-$1"
	[ -e "/usr/src/linux-headers-$1/vmlinux" ] || return 0
	file=$(modinfo -k "$1" -F filename stm)
	case $file in
	*.xz) xzcat "$file" >"$work/btf.ko" ;;
	*) cp "$file" "$work/btf.ko" ;;
	esac
	objcopy -O binary --only-section=.BTF --set-section-flags .BTF=alloc \
		"$work/btf.ko" "$work/btf"
	grep -a trace_event_raw_stm_abort "$work/btf"
}

# Sets `newest`, the release's own kernel, `first`, the one before it, and `second`, one of another
# series or flavour.
choose_kernels() {
	apt-get update -qq
	newest=$(apt-cache depends linux-headers-amd64 |
		sed -n 's/.*Depends: linux-headers-\([0-9].*\)/\1/p')
	series=$(echo "$newest" | sed 's/^\([0-9]*\.[0-9]*\).*/\1/')
	first=$(kernels "$series\\.[^a-z]*[-+a-z0-9.]*-amd64" | grep -vE -- '-(rt|cloud)-' |
		sed "/^$newest\$/,\$d" | tail -n 1)
	second=$(kernels '[0-9].*-amd64' | grep -vE -- "-(rt|cloud)-|^$series\\." | tail -n 1)
	[ -n "$second" ] || second=$(kernels "$series\\..*-cloud-amd64" | tail -n 1)
}
