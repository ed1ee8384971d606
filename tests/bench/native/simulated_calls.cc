// SPDX-License-Identifier: GPL-2.0
// The system calls that the library makes on handles, answered by the core in this process. All
// others go to Linux. Descriptors of handles are large numbers; they stay open until the end.
#include "page_arena.hpp"
#include "tests/unit/kernel/simulated_linux.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <fcntl.h>
#include <stm/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace stm::bench {
namespace {

constexpr std::size_t kPage = 4096;
// That of the control device; a simulated descriptor has a number that is so much larger.
constexpr int kControl = 1 << 20;

// Loads the module at the first use.
stm_handle* control() {
    static stm_handle* const handle = [] {
        static stm_settings settings{};
        settings.default_mode = 0666;
        settings.device_major = 240;
        settings.max_regions = settings.max_user_regions = 64;
        settings.default_size = kPage;
        settings.max_region_bytes = settings.max_bytes = settings.max_user_bytes = 256 << 20;
        settings.max_stripes = 1 << 16;
        settings.max_contexts = 32;
        settings.serial_after = 16;
        settings.serial_lease_ms = 1000;
        settings.serial_lease_max_ms = 60000;
        static simulated::Node node{0, 0, 0666};
        stm_handle* opened = nullptr;
        if (stm_core_init(&settings) != 0 ||
            stm_core_open_minor(0, STM_ACCESS_READ | STM_ACCESS_WRITE, node.get(), &opened) != 0)
            std::abort();
        return opened;
    }();
    return handle;
}

stm_handle* handle_of(int fd) {
    if (fd < kControl)
        return nullptr;
    return fd == kControl ? control() : simulated::file_at(fd - kControl - 1).handle;
}

long answer(long result) {
    if (result >= 0)
        return result;
    errno = static_cast<int>(-result);
    return -1;
}

// A commit in several regions names the handles of the others by their descriptors.
long commit(stm_handle* handle, stm_commit_sets& request) {
    std::vector<stm_sets> others(reinterpret_cast<const stm_sets*>(request.others),
                                 reinterpret_cast<const stm_sets*>(request.others) +
                                     request.other_count);
    for (stm_sets& other : others)
        other.handle -= kControl + 1;
    const auto given =
        std::exchange(request.others, reinterpret_cast<std::uint64_t>(others.data()));
    const long result =
        stm_core_control(handle, STM_IOC_COMMIT_SETS, reinterpret_cast<std::uint64_t>(&request));
    request.others = given;
    return result;
}

// Where the journals of a handle are mapped: the last one's, which is enough for one contestant.
char* journals = nullptr;

void map_page(stm_handle* handle, std::uint64_t page, char* address, int protection) {
    stm_fault fault{};
    fault.index = fault.first = fault.last = page;
    if (stm_core_window_fault(handle, &fault) == STM_FAULT_MAP)
        map_again(simulated::page_bytes(fault.pages[0]), address, protection);
}

// A journal has pages only when a thread has claimed it.
void map_journal(stm_handle* handle, std::uint64_t offset) {
    for (std::uint64_t at = offset; at < offset + STM_JOURNAL_BYTES; at += kPage)
        map_page(handle, (STM_OFFSET_JOURNALS + at) / kPage, journals + at, PROT_READ | PROT_WRITE);
}

// What a program has there, page by page: a window's pages stay the same.
void* map_window(stm_handle* handle, std::size_t bytes, std::uint64_t offset, int protection) {
    const long address = ::syscall(SYS_mmap, nullptr, bytes, PROT_NONE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
    if (address == -1)
        return MAP_FAILED;
    if (offset == STM_OFFSET_JOURNALS) {
        journals = reinterpret_cast<char*>(address);
        return journals;
    }
    for (std::uint64_t page = 0; page < bytes / kPage; ++page)
        map_page(handle, offset / kPage + page, reinterpret_cast<char*>(address) + page * kPage,
                 protection);
    return reinterpret_cast<void*>(address);
}

} // namespace
} // namespace stm::bench

using namespace stm::bench;

extern "C" {

int open(const char* path, int flags, ...) {
    if (std::strcmp(path, "/dev/stm") == 0) {
        control();
        return kControl;
    }
    std::va_list arguments;
    va_start(arguments, flags);
    const int mode = va_arg(arguments, int);
    va_end(arguments);
    return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

int ioctl(int fd, unsigned long request, ...) noexcept {
    std::va_list arguments;
    va_start(arguments, request);
    const auto argument = va_arg(arguments, unsigned long);
    va_end(arguments);
    stm_handle* const handle = handle_of(fd);
    if (handle == nullptr)
        return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
    auto* const sets = reinterpret_cast<stm_commit_sets*>(argument);
    const long result =
        answer(request == STM_IOC_COMMIT_SETS && sets->other_count != 0
                   ? commit(handle, *sets)
                   : stm_core_control(handle, static_cast<unsigned>(request), argument));
    if (request == STM_IOC_JOURNAL && result == 0)
        map_journal(handle, reinterpret_cast<const stm_claim_journal*>(argument)->offset);
    return static_cast<int>(request == STM_IOC_OPEN && result >= 0 ? result + kControl + 1
                                                                   : result);
}

void* mmap(void* address, std::size_t bytes, int protection, int flags, int fd,
           off_t offset) noexcept {
    stm_handle* const handle = handle_of(fd);
    if (handle != nullptr)
        return map_window(handle, bytes, static_cast<std::uint64_t>(offset), protection);
    return reinterpret_cast<void*>(
        ::syscall(SYS_mmap, address, bytes, protection, flags, fd, offset));
}

ssize_t pread(int fd, void* to, std::size_t bytes, off_t offset) {
    stm_handle* const handle = handle_of(fd);
    if (handle == nullptr)
        return ::syscall(SYS_pread64, fd, to, bytes, offset);
    stm::simulated::UserBuffer buffer(to, bytes);
    return answer(stm_core_read(handle, buffer.get(), static_cast<std::uint64_t>(offset)));
}

ssize_t pwrite(int fd, const void* from, std::size_t bytes, off_t offset) {
    stm_handle* const handle = handle_of(fd);
    if (handle == nullptr)
        return ::syscall(SYS_pwrite64, fd, from, bytes, offset);
    stm::simulated::UserBuffer buffer(const_cast<void*>(from), bytes);
    return answer(stm_core_write(handle, buffer.get(), static_cast<std::uint64_t>(offset)));
}

int fcntl(int fd, int command, ...) {
    if (handle_of(fd) != nullptr)
        return command == F_GETFL ? O_RDWR : 0;
    std::va_list arguments;
    va_start(arguments, command);
    const auto argument = va_arg(arguments, unsigned long);
    va_end(arguments);
    return static_cast<int>(::syscall(SYS_fcntl, fd, command, argument));
}

} // extern "C"
