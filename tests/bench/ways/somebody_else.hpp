// SPDX-License-Identifier: GPL-2.0
// Does what is to happen between two transactions of a contestant.
//
// It is another process with a handle of its own, because a way may spare its own caller what the
// commit of another one costs it. Whoever asks waits until it is done. So what is measured after
// that has nothing of it, also where both have one processor.
//
// In a way between threads the caller does it. A thread beside it would make this a process of
// several threads for all other ways, too, and their system calls and page tables cost more there.
#pragma once

#include "way.hpp"

#include <sys/types.h>

namespace stm::bench {

class SomebodyElse {
public:
    // To be made before the contestant enters. Lives no longer than the contestant, and no longer
    // than the process that makes it.
    SomebodyElse(Contestant& contestant, const Work& work, Workers kind);
    ~SomebodyElse();
    SomebodyElse(const SomebodyElse&) = delete;
    SomebodyElse& operator=(const SomebodyElse&) = delete;

    // Does the next task, and returns when it is done. The caller makes the same number of system
    // calls each time.
    void act();

private:
    [[noreturn]] void serve();

    Contestant& contestant_;
    const Work work_;
    Random random_;
    pid_t process_ = 0; // none: the caller does it
    // What is asked and what is answered: the ends to read from, and to write to.
    int asked_[2];
    int answered_[2];
};

} // namespace stm::bench
