// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/thread.hpp"

#include <cerrno>
#include <utility>

namespace stm::simulated {

thread_local Thread thread;

int errno_of(Failure failure) {
    switch (failure) {
    case Failure::allocation:
    case Failure::identity:
    case Failure::pin:
        return -ENOMEM;
    case Failure::file:
        return -ENFILE;
    case Failure::descriptor:
        return -EMFILE;
    case Failure::lock:
    case Failure::wait:
        return -EINTR;
    case Failure::permission:
        return -EACCES;
    case Failure::copy:
    case Failure::buffer:
        return -EFAULT;
    case Failure::none:
        break;
    }
    return 0;
}

FailPoint::FailPoint(std::size_t nth) {
    thread.points = 0;
    thread.failing_point = nth;
    thread.failed = Failure::none;
}

FailPoint::~FailPoint() {
    thread.failing_point = 0;
}

Failure FailPoint::happened() const {
    return thread.failed;
}

Interleave::Interleave(std::size_t nth, std::function<void()> action) {
    thread.steps = 0;
    thread.interleaved_step = nth;
    thread.action = std::move(action);
    thread.interleaved = false;
}

Interleave::~Interleave() {
    thread.interleaved_step = 0;
    thread.action = nullptr;
}

bool Interleave::happened() const {
    return thread.interleaved;
}

InterleaveCommit::InterleaveCommit(std::size_t nth, std::function<void()> action) {
    thread.engine_steps = nth;
    thread.engine_action = std::move(action);
}

InterleaveCommit::~InterleaveCommit() {
    thread.engine_steps = 0;
    thread.engine_action = nullptr;
}

Undisturbed::Undisturbed() {
    ++thread.undisturbed;
}

Undisturbed::~Undisturbed() {
    --thread.undisturbed;
}

Dying::Dying() {
    ++thread.dying;
}

Dying::~Dying() {
    --thread.dying;
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

int stm_linux_dying() {
    return thread.dying != 0;
}

void stm_linux_death_point() {
    if (thread.engine_steps != 0 && --thread.engine_steps == 0)
        thread.engine_action();
}

} // extern "C"
