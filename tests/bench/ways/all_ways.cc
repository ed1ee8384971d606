// SPDX-License-Identifier: GPL-2.0
#include "way.hpp"

namespace stm::bench {
namespace {

constexpr NamedWay kWays[] = {
    {"typed", Whose::ours, make_typed},
    {"direct", Whose::ours, make_direct},
    {"calls", Whose::ours, make_calls},
    {"vectored", Whose::ours, make_vectored},
    {"mapped", Whose::ours, make_mapped},
    {"warm", Whose::ours, make_warm},
    {"mutex", Whose::others, make_mutex},
    {"mutex-undo", Whose::others, make_mutex_undo},
    {"semaphore", Whose::others, make_semaphore},
#ifdef STM_BENCH_BOOST
    {"boost", Whose::others, make_boost},
#endif
    {"libitm", Whose::others, make_libitm, Workers::threads},
    {"lmdb", Whose::others, make_lmdb},
#ifdef STM_BENCH_SQLITE
    {"sqlite", Whose::others, make_sqlite},
#endif
};

} // namespace

std::span<const NamedWay> all_ways() {
    return kWays;
}

} // namespace stm::bench
