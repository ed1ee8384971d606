// SPDX-License-Identifier: GPL-2.0
#include "actor.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace stm::world {
namespace {

constexpr int kDied = 100000;

// The first line of a file of /proc, or nothing.
std::string line_of(pid_t pid, const char* file) {
    const std::string path = "/proc/" + std::to_string(pid) + "/" + file;
    char text[512] = "";
    FILE* stream = std::fopen(path.c_str(), "r");
    if (stream == nullptr)
        return {};
    if (std::fgets(text, sizeof text, stream) == nullptr)
        text[0] = '\0';
    std::fclose(stream);
    return text;
}

bool sleeps(pid_t pid) {
    const std::string stat = line_of(pid, "stat");
    const std::size_t name_end = stat.rfind(')');
    return name_end != std::string::npos && stat.compare(name_end, 3, ") S") == 0;
}

} // namespace

Actor::Actor(int memory, std::size_t bytes, const Object& object, std::uintptr_t where) {
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_) < 0)
        std::abort();
    pid_ = ::fork();
    if (pid_ == 0)
        run(memory, bytes, object, where);
    ::close(ends_[1]);
}

Actor::~Actor() {
    kill();
    ::close(ends_[0]);
}

void Actor::run(int memory, std::size_t bytes, const Object& object, std::uintptr_t where) const {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const struct rlimit no_core {};
    ::setrlimit(RLIMIT_CORE, &no_core);
    const int quiet = ::memfd_create("stderr", 0); // the C library's assertions
    ::dup2(quiet, STDERR_FILENO);
    const auto map = [&] {
        void* address = ::mmap(reinterpret_cast<void*>(where), bytes, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_FIXED_NOREPLACE, memory, 0);
        if (address == MAP_FAILED)
            ::_exit(99);
        return static_cast<Memory*>(address);
    };
    Memory* mapped = map();
    const auto& actions = actions_of(object.what);
    for (;;) {
        int action = 0;
        if (::read(ends_[1], &action, sizeof action) != sizeof action || action == kLeave)
            ::_exit(0);
        int result = 0;
        if (action == kUnmap) {
            ::munmap(mapped, bytes);
            where += std::uintptr_t{1} << 32;
            mapped = map();
        } else {
            result = actions[static_cast<std::size_t>(action)].run(*mapped, object);
        }
        (void)!::write(ends_[1], &result, sizeof result);
    }
}

void Actor::tell(int action) {
    doing_ = action;
    (void)!::write(ends_[0], &action, sizeof action);
}

std::optional<int> Actor::result() {
    int result = 0;
    const ssize_t got = ::recv(ends_[0], &result, sizeof result, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return std::nullopt;
    if (got != sizeof result) {
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
        result = kDied + status;
    }
    doing_.reset();
    return result;
}

bool Actor::is_asleep() const {
    if (!sleeps(pid_))
        return false;
    const long number = std::strtol(line_of(pid_, "syscall").c_str(), nullptr, 10);
    return (number == SYS_futex || number == 449) && sleeps(pid_);
}

void Actor::kill() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    pid_ = -1;
    doing_.reset();
}

} // namespace stm::world
