// SPDX-License-Identifier: LGPL-2.1-or-later
// stm/ssmem.h: segments by name. Each attachment keeps a handle beside its mapping. A read or write
// call of up to SSMEM_STRING_MAX bytes on a handle is atomic against the others, in all processes.
// So the kernel's reader/writer lock does what stm/ssmem.h promises, and neither side waits
// forever.
#include "attachments.hpp"
#include "control.hpp"
#include "error.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stm/ssmem.h>
#include <sys/mman.h>

namespace stm::library {
namespace {

constexpr char kNamePrefix[] = "ssmem:";
constexpr std::size_t kPrefixLength = sizeof kNamePrefix - 1;
constexpr mode_t kMode = 0666; // less the umask
constexpr int kAllFlags = SSMEM_FLAG_CREATE | SSMEM_FLAG_WRITE | SSMEM_FLAG_EXEC;

constinit AttachmentTable attached;
constinit pthread_once_t fork_handlers = PTHREAD_ONCE_INIT;

AttachmentTable& table() {
    pthread_once(&fork_handlers, [] {
        pthread_atfork([] { attached.lock(); }, [] { attached.unlock(); },
                       [] { attached.reset_lock(); });
    });
    return attached;
}

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};

// Opens the segment, or creates it. On success `request` tells what it is.
int open_segment(const Control& control, int flag, std::size_t length, struct stm_open& request) {
    std::uint32_t access = STM_OPEN_READ | STM_OPEN_CLOEXEC;
    if ((flag & SSMEM_FLAG_WRITE) != 0)
        access |= STM_OPEN_WRITE;
    for (;;) {
        // The first attempt has no size: an existing segment keeps its own length, even if it is
        // smaller than `length`.
        request.flags = access;
        request.region_size = 0;
        request.region_flags = 0;
        request.mode = 0;
        int handle = control.open(request);
        if (handle >= 0 || errno != ENOENT || (flag & SSMEM_FLAG_CREATE) == 0)
            return handle;

        request.flags = access | STM_OPEN_CREATE | STM_OPEN_EXCL;
        request.region_size = length;
        request.region_flags = STM_REGION_PLAIN | STM_REGION_EPHEMERAL;
        if ((flag & SSMEM_FLAG_EXEC) != 0)
            request.region_flags |= STM_REGION_EXEC;
        request.mode = kMode;
        handle = control.open(request);
        if (handle >= 0 || errno != EEXIST)
            return handle;
    }
}

int protection(int flag) {
    if ((flag & SSMEM_FLAG_WRITE) != 0)
        return PROT_READ | PROT_WRITE;
    if ((flag & SSMEM_FLAG_EXEC) != 0)
        return PROT_READ | PROT_EXEC;
    return PROT_READ;
}

// Reads up to `size` bytes. If the segment has no NUL among them, the last byte becomes one.
// Returns the string's length without the NUL, or -1. It makes one read call, so it sees one state
// of the segment.
ssize_t read_string(const Attachment& from, std::size_t offset, char* to, std::size_t size) {
    ssize_t got = ::pread(from.handle, to, size, static_cast<off_t>(offset));
    if (got < 0)
        return fail(errno, "ssmem_read");
    std::size_t length = strnlen(to, static_cast<std::size_t>(got));
    if (length == size)
        --length;
    to[length] = '\0';
    return static_cast<ssize_t>(length);
}

} // namespace
} // namespace stm::library

using namespace stm::library;

long ssmem_attach(char* name, int flag, size_t length) {
    if (name == nullptr || name[0] == '\0')
        return fail(EINVAL, "ssmem_attach: a segment's name must not be empty");
    if (length == 0)
        return fail(EINVAL, "ssmem_attach: the length is 0");
    if ((flag & ~kAllFlags) != 0)
        return fail(EINVAL, "ssmem_attach: flag %d is unknown", flag);
    if ((flag & SSMEM_FLAG_WRITE) != 0 && (flag & SSMEM_FLAG_EXEC) != 0 &&
        (flag & SSMEM_FLAG_CREATE) == 0)
        return fail(EINVAL, "ssmem_attach: an attachment is not writable and executable at once");
    std::size_t name_length = strnlen(name, STM_NAME_SIZE);
    if (kPrefixLength + name_length >= STM_NAME_SIZE)
        return fail(ENAMETOOLONG, "ssmem_attach: a name has at most %zu bytes",
                    STM_NAME_SIZE - 1 - kPrefixLength);

    struct stm_open request {};
    std::memcpy(request.name, kNamePrefix, kPrefixLength);
    std::memcpy(request.name + kPrefixLength, name, name_length);
    Control control;
    if (control.connect() < 0)
        return -1;
    Descriptor handle(open_segment(control, flag, length, request));
    if (!handle)
        return fail(errno, "ssmem_attach: segment '%s'", name);
    if ((request.region_flags & STM_REGION_PLAIN) == 0)
        return fail(EINVAL, "ssmem_attach: region '%s' is no segment", request.name);

    ExclusiveGuard guard(table());
    if (attached.reserve_locked() < 0)
        return fail(ENOMEM, "ssmem_attach: no room to remember segment '%s'", name);
    void* mapped =
        ::mmap(nullptr, request.region_size, protection(flag), MAP_SHARED, handle.get(), 0);
    // Linux 7 refuses PROT_EXEC itself, by EPERM, where the module would say EACCES.
    if (mapped == MAP_FAILED)
        return fail(errno == EPERM ? EACCES : errno, "ssmem_attach: segment '%s' cannot be mapped",
                    name);
    auto address = reinterpret_cast<std::uintptr_t>(mapped);
    attached.add_locked({address, request.region_size, 0, handle.release(), protection(flag)});
    return static_cast<long>(address);
}

long ssmem_detach(void* addr) {
    ExclusiveGuard guard(table());
    Attachment* attachment = attached.find_start_locked(reinterpret_cast<std::uintptr_t>(addr));
    if (attachment == nullptr)
        return fail(EINVAL, "ssmem_detach: nothing is attached at %p", addr);
    if (::munmap(addr, attachment->length) < 0)
        return fail(errno, "ssmem_detach: %p", addr);
    ::close(attachment->handle);
    attached.remove_locked(attachment);
    return 0;
}

long ssmem_write(void* addr, char* data) {
    auto address = reinterpret_cast<std::uintptr_t>(addr);
    // The lock is held during the call, because the handle must not be closed under it. Other
    // readers and writers do not wait for it.
    SharedGuard guard(table());
    const Attachment* to = attached.find_within_locked(address);
    if (to == nullptr || data == nullptr)
        return fail(EINVAL, "ssmem_write: nothing is attached at %p, or no string", addr);
    if ((to->access & PROT_WRITE) == 0)
        return fail(EACCES, "ssmem_write: %p is attached for reading", addr);
    std::size_t offset = address - to->address;
    std::size_t room = std::min<std::size_t>(to->length - offset, SSMEM_STRING_MAX);
    std::size_t length = strnlen(data, room);
    if (length == room)
        return fail(EMSGSIZE, "ssmem_write: the string and its end do not fit in %zu bytes", room);
    ssize_t put = ::pwrite(to->handle, data, length + 1, static_cast<off_t>(offset));
    if (put < 0)
        return fail(errno, "ssmem_write");
    if (static_cast<std::size_t>(put) != length + 1)
        return fail(EIO, "ssmem_write: only %zd of %zu bytes were written", put, length + 1);
    return 0;
}

long ssmem_read(void* addr, char* data) {
    auto address = reinterpret_cast<std::uintptr_t>(addr);
    SharedGuard guard(table());
    const Attachment* from = attached.find_within_locked(address);
    if (from == nullptr || data == nullptr)
        return fail(EINVAL, "ssmem_read: nothing is attached at %p, or no room", addr);
    std::size_t offset = address - from->address;
    std::size_t most = std::min<std::size_t>(from->length - offset, SSMEM_STRING_MAX);

    // The caller's buffer may be only as long as the string, so the read cannot go into it
    // directly. Most strings are short. A long string is read again, whole, so that it is one state
    // of the segment.
    char buffer[1024];
    ssize_t length = read_string(*from, offset, buffer, std::min(most, sizeof buffer));
    if (length < 0)
        return -1;
    if (most <= sizeof buffer || static_cast<std::size_t>(length) < sizeof buffer - 1) {
        std::memcpy(data, buffer, static_cast<std::size_t>(length) + 1);
        return 0;
    }
    std::unique_ptr<char, Free> large(static_cast<char*>(std::malloc(most)));
    if (!large)
        return fail(ENOMEM, "ssmem_read: no memory for %zu bytes", most);
    length = read_string(*from, offset, large.get(), most);
    if (length < 0)
        return -1;
    std::memcpy(data, large.get(), static_cast<std::size_t>(length) + 1);
    return 0;
}

long ssmem_length(void* addr) {
    auto address = reinterpret_cast<std::uintptr_t>(addr);
    SharedGuard guard(table());
    const Attachment* attachment = attached.find_within_locked(address);
    if (attachment == nullptr)
        return fail(EINVAL, "ssmem_length: nothing is attached at %p", addr);
    return static_cast<long>(attachment->length - (address - attachment->address));
}
