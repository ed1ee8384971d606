// SPDX-License-Identifier: GPL-2.0
#include "somebody_else.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace stm::bench {
namespace {

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

// The first one from it tells that it is ready.
void send(int pipe) {
    const char byte = 0;
    if (::write(pipe, &byte, 1) != 1)
        fail("write to somebody else");
}

// Whether there is still somebody to receive from.
bool receive(int pipe) {
    char byte;
    const ssize_t bytes = ::read(pipe, &byte, 1);
    if (bytes < 0)
        fail("read from somebody else");
    return bytes == 1;
}

} // namespace

SomebodyElse::SomebodyElse(Contestant& contestant, const Work& work, Workers kind)
    : contestant_(contestant), work_(work) {
    if (kind == Workers::threads)
        return;
    if (::pipe(asked_) < 0 || ::pipe(answered_) < 0)
        fail("pipe");
    process_ = ::fork();
    if (process_ < 0)
        fail("fork");
    if (process_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve();
    }
    ::close(asked_[0]);
    ::close(answered_[1]);
    if (!receive(answered_[0]))
        throw std::runtime_error("somebody else has ended early");
}

SomebodyElse::~SomebodyElse() {
    if (process_ == 0)
        return;
    ::close(asked_[1]);
    ::close(answered_[0]);
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
}

void SomebodyElse::act() {
    if (process_ == 0) {
        contestant_.run(work_, random_, 0);
        return;
    }
    send(asked_[1]);
    if (!receive(answered_[0]))
        throw std::runtime_error("somebody else has ended early");
}

void SomebodyElse::serve() {
    // Nobody else has these ends, so each side notices that the other one has ended.
    ::close(asked_[1]);
    ::close(answered_[0]);
    try {
        contestant_.enter();
        send(answered_[1]);
        while (receive(asked_[0])) {
            contestant_.run(work_, random_, 0);
            send(answered_[1]);
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "somebody else: %s\n", error.what());
    }
    ::_exit(1);
}

} // namespace stm::bench
