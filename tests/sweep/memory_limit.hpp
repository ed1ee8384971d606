// SPDX-License-Identifier: GPL-2.0
// The limit of a memory cgroup, reached in the middle of a call: the calling process is alone in a
// group that may have n - 1 pages more than it has.
#pragma once

#include "injection.hpp"

#include <functional>
#include <sys/types.h>

namespace stm::sweep {

class MemoryLimit : public Failures {
public:
    // Of the group that the calling process is in, for the rest of its life. What it needs itself
    // is made present, since a page of its own that the group has no room for is waited for.
    explicit MemoryLimit(const std::string& group);
    ~MemoryLimit() override;
    MemoryLimit(const MemoryLimit&) = delete;
    MemoryLimit& operator=(const MemoryLimit&) = delete;

    void arm(unsigned n) const override;
    [[nodiscard]] bool disarm() const override;
    [[nodiscard]] std::string trouble() const override;
    [[nodiscard]] bool persist() const override { return true; }

    // What the group holds, without what processors keep for it in advance.
    [[nodiscard]] long pages() const;

private:
    [[nodiscard]] long times_reached() const;

    int max_, high_, current_, events_;
    mutable long reached_before_ = 0;
};

// Runs it in a memory cgroup of its own, where no OOM killer finds it. Another process lifts the
// limit when a try comes to no end. Its result, or 2 and a message when there can be no such group.
int in_memory_group(const std::function<int(const std::string& group)>& body);

// fork, and then the limit is lifted, before either process touches memory: that is copied now.
pid_t fork_under_limit();

} // namespace stm::sweep
