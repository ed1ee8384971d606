// SPDX-License-Identifier: GPL-2.0
// A region of <stm/stm.hpp> for a test.
#pragma once

#include "guest.hpp"

#include <stm/stm.hpp> // IWYU pragma: export

namespace stm::test {

/** Made on construction, and gone with its last user at the end. */
class OwnRegion {
public:
    explicit OwnRegion(const std::string& stem, std::size_t size = std::size_t{4} << 20)
        : name(unique_name(stem)), here(region::create(name, size)) {}
    ~OwnRegion() { stm_unlink_deferred(name.c_str()); }
    OwnRegion(const OwnRegion&) = delete;
    OwnRegion& operator=(const OwnRegion&) = delete;

    const std::string name;
    const region here;
};

/** The heap is consistent; how many blocks are allocated. */
inline std::uint64_t blocks_of(const region& where) {
    return read_only(where, [&](read_transaction& tx) {
        stm_heap_report report{};
        const int result = stm_heap_check(tx.handle(), where.handle(), &report);
        if (result < 0)
            ADD_FAILURE() << (report.problem != nullptr ? report.problem : "no heap");
        tx.expect(result);
        return report.blocks;
    });
}

} // namespace stm::test
