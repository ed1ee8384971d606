// SPDX-License-Identifier: GPL-2.0
// What another process does to the mapping: a child, which names its parent by its number.
#include "rows.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

namespace stm::test {

namespace {

constexpr long kProcessMadvise = 440;
constexpr long kNew = 7;

using VmCall = ssize_t (*)(pid_t, const iovec*, unsigned long, const iovec*, unsigned long,
                           unsigned long);

std::string process_vm(Subject& subject, VmCall call) {
    const pid_t parent = ::getpid();
    return in_child([&] {
        long value = kNew;
        const iovec mine{&value, sizeof value};
        const iovec its{subject.page(1), sizeof value};
        return said(call(parent, &mine, 1, &its, 1, 0));
    });
}

std::string memory_file(Subject& subject, bool write) {
    const std::string path = "/proc/" + std::to_string(::getpid()) + "/mem";
    return in_child([&] {
        const Fd memory(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        const auto at = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(subject.page(1)));
        long value = kNew;
        return said(write ? ::pwrite(memory.get(), &value, sizeof value, at)
                          : ::pread(memory.get(), &value, sizeof value, at));
    });
}

// Who was allowed to write has changed what the page holds.
std::string written(Subject& subject, const std::string& result) {
    if (result == std::to_string(sizeof(long)))
        subject.holds_now(1, kNew);
    return result;
}

std::string advised(Subject& subject, int advice) {
    const pid_t parent = ::getpid();
    return in_child([&] {
        const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, parent, 0)));
        const iovec range{subject.page(), Subject::kBytes};
        return said(::syscall(kProcessMadvise, process.get(), &range, 1, advice, 0));
    });
}

std::string advised_itself(Subject& subject, int advice) {
    const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
    const iovec range{subject.page(), Subject::kBytes};
    return said(::syscall(kProcessMadvise, process.get(), &range, 1, advice, 0));
}

std::string inherited(Subject& subject) {
    return in_child([&]() -> std::string {
        const std::optional<long> value = load(subject.page(1));
        const std::string loaded = value ? "loads " + std::to_string(*value) : "loads nothing";
        return loaded + (store(subject.word(1), 0) ? ", takes stores" : ", takes no store");
    });
}

} // namespace

Rows foreign_rows() {
    return {
        {"fork, the child's mapping", inherited},
        {"process_vm_readv", [](Subject& s) { return process_vm(s, ::process_vm_readv); }},
        {"process_vm_writev",
         [](Subject& s) { return written(s, process_vm(s, ::process_vm_writev)); }},
        {"/proc/PID/mem, read", [](Subject& s) { return memory_file(s, false); }},
        {"/proc/PID/mem, write", [](Subject& s) { return written(s, memory_file(s, true)); }},
        {"process_madvise(MADV_COLD)", [](Subject& s) { return advised(s, MADV_COLD); }},
        {"process_madvise(MADV_PAGEOUT)", [](Subject& s) { return advised(s, MADV_PAGEOUT); }},
        {"process_madvise(MADV_WILLNEED)", [](Subject& s) { return advised(s, MADV_WILLNEED); }},
        {"process_madvise(MADV_COLLAPSE)", [](Subject& s) { return advised(s, 25); }},
        {"process_madvise(MADV_DONTNEED)", [](Subject& s) { return advised(s, MADV_DONTNEED); }},
        {"process_madvise(MADV_DONTNEED) on itself",
         [](Subject& s) { return advised_itself(s, MADV_DONTNEED); }},
        {"process_madvise(MADV_GUARD_INSTALL) on itself",
         [](Subject& s) { return advised_itself(s, 102); }},
    };
}

} // namespace stm::test
