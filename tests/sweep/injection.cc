// SPDX-License-Identifier: GPL-2.0
#include "injection.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace stm::sweep {

namespace {

// Where a function of the kernel begins, and what comes after it begins; "" if there is none.
std::pair<std::string, std::string> place_of(const std::string& function) {
    std::ifstream symbols("/proc/kallsyms");
    unsigned long begin = 0, end = 0;
    std::vector<unsigned long> all;
    for (std::string line; std::getline(symbols, line);) {
        std::istringstream words(line);
        unsigned long address = 0;
        std::string kind, name;
        if (words >> std::hex >> address >> kind >> name) {
            all.push_back(address);
            if (name == function)
                begin = address;
        }
    }
    for (const unsigned long address : all)
        if (address > begin && (end == 0 || address < end))
            end = address;
    if (begin == 0)
        return {};
    std::ostringstream from, to;
    from << "0x" << std::hex << begin;
    to << "0x" << std::hex << end;
    return {from.str(), to.str()};
}

} // namespace

void stop_restartable_sequences() {
    char* const area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
    constexpr unsigned kBytes = 32; // as libc has registered it
    if (__rseq_size != 0 &&
        ::syscall(SYS_rseq, area, kBytes, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) != 0) {
        std::perror("rseq");
        std::abort();
    }
}

std::string prepare_injection() {
    const std::string debug = "/sys/kernel/debug/";
    // Linux tells its jump labels and its tracer of a module that is loaded. Both warn when they
    // have no memory, and a warning is a finding.
    const auto [begin, end] = place_of("blocking_notifier_call_chain_robust");
    const std::pair<const char*, std::string> settings[] = {
        {"failslab/ignore-gfp-wait", "N"},
        {"failslab/verbose", "0"},
        {"fail_page_alloc/ignore-gfp-wait", "N"},
        {"fail_page_alloc/ignore-gfp-highmem", "N"},
        {"fail_page_alloc/min-order", "0"},
        {"fail_page_alloc/verbose", "0"},
        {"fail_usercopy/verbose", "0"},
        {"failslab/reject-start", begin},
        {"failslab/reject-end", end},
    };
    for (const auto& [name, value] : settings) {
        if (value.empty())
            continue;
        std::ofstream file(debug + name);
        if (!(file << value << std::flush))
            return debug + name + " cannot be written: this needs the kernel `debug`";
    }
    return {};
}

Injection::Injection() : fd_(::open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC)) {
    if (fd_ < 0) {
        std::perror("/proc/thread-self/fail-nth");
        std::abort();
    }
}

Injection::~Injection() {
    ::close(fd_);
}

void Injection::arm(unsigned n) const {
    char text[16];
    const int length = std::snprintf(text, sizeof text, "%u", n);
    if (::pwrite(fd_, text, static_cast<std::size_t>(length), 0) != length) {
        std::perror("fail-nth");
        std::abort();
    }
}

bool Injection::disarm() const {
    char text[16] = "";
    // Itself a user copy: when that one is the n-th, it is not what was asked about.
    const bool told = ::pread(fd_, text, sizeof text - 1, 0) > 0;
    while (::pwrite(fd_, "0", 1, 0) != 1 && errno == EFAULT) {
    }
    return told && std::atoi(text) == 0;
}

} // namespace stm::sweep
