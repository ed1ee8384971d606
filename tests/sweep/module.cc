// SPDX-License-Identifier: GPL-2.0
#include "module.hpp"

#include "guest.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sys/syscall.h>

namespace stm::sweep {

namespace {

bool exists(const char* path) {
    return ::access(path, F_OK) == 0;
}

// Nothing of it can be seen, or all.
void expect_present(bool present, std::vector<std::string>& problems) {
    for (const char* path : {"/sys/module/stm", "/sys/class/stm", "/dev/stm"}) {
        if (exists(path) != present)
            problems.push_back(std::string(path) + (present ? " is missing" : " is left"));
    }
}

void expect_works(std::vector<std::string>& problems) {
    const std::string name = test::unique_name("module");
    const test::Fd fd(stm_open(name.c_str(), test::kPage, STM_CREATE | STM_EPHEMERAL, 0600));
    char byte = 0;
    if (::pwrite(fd.get(), "x", 1, 0) != 1 || ::pread(fd.get(), &byte, 1, 0) != 1 || byte != 'x')
        problems.push_back(std::string("does not work: ") + std::strerror(errno));
}

} // namespace

Module::Module(const std::string& path) : path_("/dev/shm/" + test::unique_name("module")) {
    std::ofstream(path_, std::ios::binary) << std::ifstream(path, std::ios::binary).rdbuf();
}

Module::~Module() {
    ::unlink(path_.c_str());
}

int Module::load() const {
    const test::Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file)
        return errno;
    return ::syscall(SYS_finit_module, file.get(), "", 0) == 0 ? 0 : errno;
}

int Module::unload() const {
    return ::syscall(SYS_delete_module, "stm", O_NONBLOCK) == 0 ? 0 : errno;
}

bool Module::sweep_load(const Injection& injection, unsigned n,
                        std::vector<std::string>& problems) const {
    if (const int error = unload(); error != 0) {
        problems.push_back(std::string("cannot be unloaded: ") + std::strerror(error));
        return false;
    }
    expect_present(false, problems);
    injection.arm(n);
    const int error = load();
    const bool injected = injection.disarm();
    if (error != 0 && !injected)
        problems.push_back(std::string("fails without a failure: ") + std::strerror(error));
    if (error != 0) {
        expect_present(false, problems);
        if (error != ENOMEM && error != EFAULT)
            problems.push_back(std::string("fails with another error: ") + std::strerror(error));
        if (const int again = load(); again != 0)
            problems.push_back(std::string("fails again: ") + std::strerror(again));
    }
    expect_present(true, problems);
    expect_works(problems);
    return injected;
}

bool Module::sweep_unload(const Injection& injection, unsigned n,
                          std::vector<std::string>& problems) const {
    injection.arm(n);
    const int error = unload();
    const bool injected = injection.disarm();
    if (error != 0) {
        if (!injected)
            problems.push_back(std::string("fails without a failure: ") + std::strerror(error));
        expect_present(true, problems);
        expect_works(problems);
        if (const int again = unload(); again != 0)
            problems.push_back(std::string("fails again: ") + std::strerror(again));
    }
    expect_present(false, problems);
    if (const int loaded = load(); loaded != 0)
        problems.push_back(std::string("cannot be loaded any more: ") + std::strerror(loaded));
    expect_works(problems);
    return injected;
}

} // namespace stm::sweep
