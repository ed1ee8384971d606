#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Linux 7.3 answers ioctl(PAGEMAP_SCAN) otherwise than Linux 7.2 about a page that was never
# write-protected: PAGE_IS_WRITTEN is no longer set there, although the page was stored to.
#
# This program boots three kernels of Debian in QEMU, without anything of this project, and asks
# for PAGE_IS_WRITTEN (0x2) and PAGE_IS_PRESENT (0x8) of a page of private anonymous memory and of
# a page of a shared memfd. Seen with
#
#   linux-image-6.12.117+deb12-amd64    6.12.117-1~deb12u1  bookworm-security
#   linux-binary-7.2.12+deb13-amd64     7.2.12-1~bpo13+1    trixie-backports
#   linux-binary-7.3.4+deb13-amd64      7.3.4-1~bpo13+1     trixie-backports
#
#                                        6.12.117    7.2.12    7.3.4
#   not registered, only loaded               0xa       0xa      0x8
#   not registered, stored to                 0xa       0xa      0x8
#   registered for write-protection           0xa       0xa      0xa
#   write-protected                           0x8       0x8      0x8
#   stored to after that                      0xa       0xa      0xa
#
# for both kinds of memory. "Registered" means a userfaultfd with UFFD_FEATURE_WP_ASYNC and
# UFFDIO_REGISTER_MODE_WP. The last three lines agree with the manual page PAGEMAP_SCAN(2const),
# which has tracking begin with such a registration.
#
# This change is intended and documented. The commit 338964881982 ("mm/pagemap: add
# PAGE_IS_ACCESSED for RWP tracking") limits the flag to registered ranges and knows that it narrows
# the interface. Documentation/admin-guide/mm/pagemap.rst has the limit in linux-doc-7.3 7.3.4, and
# does not have it in linux-doc-7.2 7.2.12. The first line of the table shows the reason: before,
# the flag said "written" of any page that was present, even of one that was only loaded. So it is
# no fault of 7.3; but a program that asks without registering gets another answer from it.
#
# Needs a host with Debian's apt, a network, gcc with a static C library, cpio and
# qemu-system-x86_64, which emulates: it takes a minute, and more on a busy host. All files are in a
# temporary folder.
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

for tool in apt-get dpkg-deb tar gcc cpio timeout qemu-system-x86_64; do
    command -v "$tool" >/dev/null || cannot "there is no $tool"
done

# --- the packages ---

# mirror PATTERN: where this host has suites of Debian whose names match.
mirror() {
    # shellcheck disable=SC2016  # These words are apt's.
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)' \
        'Created-By: Packages' 2>/dev/null |
        awk -v suite="$1" '($1 == "Debian" && $2 == "main" && $3 ~ suite) { print $4; exit }'
}

main=$(mirror '^[a-z]+$')
[ -n "$main" ] || cannot "this host's apt has no archive of Debian"
security=$(mirror '-security$')
[ -n "$security" ] || security="${main%/}-security"

signed=
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ ! -e "$keyring" ] || signed="[signed-by=$keyring]"

# release SUITE MIRROR: package lists of its own for one suite, which the host's apt does not see.
release() {
    local own="$folder/apt/$1" user=
    [ "$(id -u)" != 0 ] || user=root
    mkdir -p "$own/lists/partial" "$own/cache/archives/partial"
    echo "deb $signed $2 $1 main" >"$own/sources.list"
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
    apt-get -c "$own/apt.conf" update -qq >"$own/said" 2>&1 ||
        cannot "no package lists of $1: $(tail -n 1 "$own/said")"
}

# kernel SUITE PACKAGE VERSION NAME: leaves the kernel's image in the file NAME.
kernel() {
    local deb
    mkdir -p "$folder/deb/$4"
    (cd "$folder/deb/$4" && apt-get -c "$folder/apt/$1/apt.conf" download -qq "$2=$3") \
        >"$folder/said" 2>&1 || cannot "$2 $3 is not to be had: $(tail -n 1 "$folder/said")"
    deb=$(echo "$folder/deb/$4/"*.deb)
    echo "$(dpkg-deb --field "$deb" Package) $(dpkg-deb --field "$deb" Version)"
    dpkg-deb --fsys-tarfile "$deb" |
        tar -x -C "$folder/deb/$4" --wildcards --no-anchored 'vmlinuz*' ||
        cannot "no kernel image in $2"
    find "$folder/deb/$4" -type f -name 'vmlinuz*' -exec mv {} "$folder/$4" \;
    rm -rf "$folder/deb/$4"
    [ -s "$folder/$4" ] || cannot "no kernel image in $2"
}

release bookworm-security "$security"
release trixie-backports "$main"
kernel bookworm-security linux-image-6.12.117+deb12-amd64 6.12.117-1~deb12u1 6.12.117
kernel trixie-backports linux-binary-7.2.12+deb13-amd64 7.2.12-1~bpo13+1 7.2.12
kernel trixie-backports linux-binary-7.3.4+deb13-amd64 7.3.4-1~bpo13+1 7.3.4
qemu-system-x86_64 --version | head -n 1

# --- the program, which is all that runs in the guest ---

# The structures are spelled out, for the headers of the host may be older than these calls.
cat >"$folder/init.c" <<'END'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <termios.h>
#include <unistd.h>

enum { PAGE = 4096, WRITTEN = 1 << 1, PRESENT = 1 << 3 };

struct region { uint64_t start, end, categories; };
struct scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct range { uint64_t start, len; };
struct api { uint64_t api, features, ioctls; };
struct registration { struct range range; uint64_t mode, ioctls; };
struct protection { struct range range; uint64_t mode; };

#define PAGEMAP_SCAN _IOWR('f', 16, struct scan)
#define UFFDIO_API _IOWR(0xaa, 0x3f, struct api)
#define UFFDIO_REGISTER _IOWR(0xaa, 0x00, struct registration)
#define UFFDIO_WRITEPROTECT _IOWR(0xaa, 0x06, struct protection)
#define UFFD_API 0xaa
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#define UFFDIO_REGISTER_MODE_WP (1 << 1)
#define UFFDIO_WRITEPROTECT_MODE_WP (1 << 0)

static int pagemap;

static void say(const char* memory, const char* state, volatile char* page)
{
    struct region found = {0};
    struct scan scan = {.size = sizeof scan, .start = (uintptr_t)page,
                        .end = (uintptr_t)page + PAGE, .vec = (uintptr_t)&found, .vec_len = 1,
                        .return_mask = WRITTEN | PRESENT};
    int count = ioctl(pagemap, PAGEMAP_SCAN, &scan);
    if (count < 0)
        printf("= %s, %s: error %d\n", memory, state, errno);
    else
        printf("= %s, %s: %#llx\n", memory, state, (unsigned long long)found.categories);
}

static volatile char* map(int memfd, off_t offset)
{
    int flags = memfd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    return mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, memfd, memfd < 0 ? 0 : offset);
}

static void ask(const char* memory, int memfd)
{
    volatile char* page = map(memfd, 0);
    (void)*page;
    say(memory, "not registered, only loaded", page);

    page = map(memfd, PAGE);
    *page = 1;
    say(memory, "not registered, stored to", page);

    int fault = syscall(SYS_userfaultfd, O_CLOEXEC);
    struct api api = {.api = UFFD_API,
                      .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_HUGETLBFS_SHMEM};
    struct range range = {(uintptr_t)page, PAGE};
    struct registration registration = {.range = range, .mode = UFFDIO_REGISTER_MODE_WP};
    if (fault < 0 || ioctl(fault, UFFDIO_API, &api) ||
        ioctl(fault, UFFDIO_REGISTER, &registration)) {
        printf("= %s: cannot register, error %d\n", memory, errno);
        return;
    }
    say(memory, "registered for write-protection", page);

    struct protection protection = {.range = range, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    if (ioctl(fault, UFFDIO_WRITEPROTECT, &protection))
        printf("= %s: cannot write-protect, error %d\n", memory, errno);
    say(memory, "write-protected", page);

    *page = 2;
    say(memory, "stored to after that", page);
}

int main(void)
{
    mkdir("/proc", 0555);
    mount("proc", "/proc", "proc", 0, NULL);
    pagemap = open("/proc/self/pagemap", O_RDONLY);
    int memfd = memfd_create("pages", 0);
    struct utsname name = {0};
    uname(&name);
    printf("\n= release %s\n", name.release);
    if (pagemap >= 0 && memfd >= 0 && ftruncate(memfd, 2 * PAGE) == 0) {
        ask("anonymous", -1);
        ask("memfd", memfd);
        puts("= end");
    }
    fflush(stdout);
    tcdrain(1);
    reboot(RB_AUTOBOOT);
    return 1;
}
END
mkdir "$folder/root"
gcc -std=gnu11 -O1 -Wall -static -o "$folder/root/init" "$folder/init.c" ||
    cannot "the program cannot be compiled"
(cd "$folder/root" && echo init | cpio --quiet -o -H newc) >"$folder/initramfs" ||
    cannot "no initramfs"

# --- what each kernel says ---

# Linux restarts the machine at the end, which ends QEMU.
boot() {
    timeout --foreground 400 qemu-system-x86_64 -accel tcg -m 512 -smp 1 -nodefaults -display none \
        -serial stdio -no-reboot -kernel "$folder/$1" -initrd "$folder/initramfs" \
        -append "console=ttyS0 quiet panic=-1" </dev/null 2>&1 | tr -d '\r' >"$folder/console"
    grep -q '^= end$' "$folder/console" ||
        cannot "Linux $1 did not get to the end: $(tail -n 1 "$folder/console")"
    grep -q "^= release $1+" "$folder/console" || cannot "that is not Linux $1"
    sed -n "/^= end\$/d; /^= release /d; s/^= /Linux $1, /p" "$folder/console"
}

# seen KERNEL LOADED STORED REGISTERED PROTECTED AGAIN
seen() {
    local memory
    for memory in anonymous memfd; do
        echo "Linux $1, $memory, not registered, only loaded: $2"
        echo "Linux $1, $memory, not registered, stored to: $3"
        echo "Linux $1, $memory, registered for write-protection: $4"
        echo "Linux $1, $memory, write-protected: $5"
        echo "Linux $1, $memory, stored to after that: $6"
    done
}

{
    seen 6.12.117 0xa 0xa 0xa 0x8 0xa
    seen 7.2.12 0xa 0xa 0xa 0x8 0xa
    seen 7.3.4 0x8 0x8 0xa 0x8 0xa
} >"$folder/seen"

: >"$folder/now"
for name in 6.12.117 7.2.12 7.3.4; do
    boot "$name" >"$folder/said" || exit
    cat "$folder/said"
    cat "$folder/said" >>"$folder/now"
done

if diff -u --label seen --label now "$folder/seen" "$folder/now"; then
    echo "As seen: of a page that is not registered, 7.3.4 says 0x8 (present) where 6.12.117 and" \
        "7.2.12 say 0xa (present, written). Of one that is, all say the same. 7.3 documents it."
else
    echo "It is another way now." >&2
    exit 1
fi
