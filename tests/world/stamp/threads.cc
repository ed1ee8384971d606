// SPDX-License-Identifier: GPL-2.0
// With nothing, and with a mutex, for threads: what transactions are compared with.
#include "direct.hpp"
#include "run.hpp"

#include <mutex>

namespace stm::stamp {
namespace {

struct NoLock {
    void lock() {}
    void unlock() {}
};

template <typename Lock>
class Locked : public OwnMemory {
public:
    static constexpr Workers kWorkers = Workers::threads;
    using OwnMemory::OwnMemory;

    class Worker {
    public:
        Worker(Locked& memory, Barrier& barrier) : memory_(memory), barrier_(barrier) {}

        template <typename T>
        T& root() {
            return *reinterpret_cast<T*>(memory_.base());
        }
        template <typename Body>
        auto atomically(Body body) {
            const std::lock_guard<Lock> guard(memory_.lock_);
            Direct<Locked> tx(memory_.base());
            return body(tx);
        }
        template <typename Body>
        auto read_only(Body body) {
            return atomically(body);
        }
        void barrier() { barrier_.wait(); }
        template <typename T>
        void copy(var<T>* from, std::size_t count, T* to) {
            atomically([&](auto& tx) {
                for (std::size_t at = 0; at < count; ++at)
                    to[at] = tx[from[at]];
            });
        }

    private:
        Locked& memory_;
        Barrier& barrier_;
    };

private:
    Lock lock_;
};

} // namespace

WayInfo sequential_way() {
    return {"sequential", "one thread, nothing else", Workers::threads, run<Locked<NoLock>>};
}
WayInfo mutex_way() {
    return {"mutex", "threads, and one mutex", Workers::threads, run<Locked<std::mutex>>};
}

} // namespace stm::stamp
