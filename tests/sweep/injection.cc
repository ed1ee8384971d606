// SPDX-License-Identifier: GPL-2.0
#include "injection.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <unistd.h>

namespace stm::sweep {

std::string prepare_injection() {
    const std::string debug = "/sys/kernel/debug/";
    const std::pair<const char*, const char*> settings[] = {
        {"failslab/ignore-gfp-wait", "N"},        {"failslab/verbose", "0"},
        {"fail_page_alloc/ignore-gfp-wait", "N"}, {"fail_page_alloc/ignore-gfp-highmem", "N"},
        {"fail_page_alloc/min-order", "0"},       {"fail_page_alloc/verbose", "0"},
        {"fail_usercopy/verbose", "0"},
    };
    for (const auto& [name, value] : settings) {
        std::ofstream file(debug + name);
        if (!(file << value << std::flush))
            return debug + name + " can not be written: this needs the kernel `debug`";
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
