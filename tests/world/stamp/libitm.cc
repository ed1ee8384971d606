// SPDX-License-Identifier: GPL-2.0
// GCC's transactional memory, for threads.
#include "direct.hpp"
#include "run.hpp"

namespace stm::stamp {
namespace {

class Libitm : public OwnMemory {
public:
    static constexpr Workers kWorkers = Workers::threads;
    using OwnMemory::OwnMemory;

    class Worker {
    public:
        Worker(Libitm& memory, Barrier& barrier) : memory_(memory), barrier_(barrier) {}

        template <typename T>
        T& root() {
            return *reinterpret_cast<T*>(memory_.base());
        }
        template <typename Body>
        auto atomically(Body body) {
            Direct<Libitm> tx(memory_.base());
            using Result = decltype(body(tx));
            if constexpr (std::is_void_v<Result>) {
                __transaction_atomic {
                    body(tx);
                }
            } else {
                Result result{};
                __transaction_atomic {
                    result = body(tx);
                }
                return result;
            }
        }
        template <typename Body>
        auto read_only(Body body) {
            // What result() does in there is no transaction's business, and it runs alone.
            Direct<Libitm> tx(memory_.base());
            return body(tx);
        }
        void barrier() { barrier_.wait(); }
        // In a transaction, since others store what they may have to take back.
        template <typename T>
        void copy(var<T>* from, std::size_t count, T* to) {
            atomically([=](auto& tx) {
                for (std::size_t at = 0; at < count; ++at)
                    to[at] = tx[from[at]];
            });
        }

    private:
        Libitm& memory_;
        Barrier& barrier_;
    };
};

} // namespace

WayInfo libitm_way() {
    return {"libitm", "threads, and GCC's __transaction_atomic", Workers::threads, run<Libitm>};
}

} // namespace stm::stamp
