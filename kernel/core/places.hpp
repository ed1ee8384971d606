// SPDX-License-Identifier: GPL-2.0
// What parts of a region are called, for people.
//
// Invariants: everything is touched under the registry's lock. The list is allocated before, with
// the first name; it never grows, so names cost a region no more than one list.
#pragma once

#include "kernel/core/uapi.hpp"

#include "runtime/support/allocate.hpp"
#include "runtime/support/fixed_string.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

using PlaceName = runtime::FixedString<STM_PLACE_NAME_SIZE - 1>;

class Places : runtime::NonCopyable {
    using u32 = runtime::u32;

public:
    using List = runtime::UniqueArray<stm_place>;
    [[nodiscard]] static runtime::Result<List> make_list() noexcept {
        return runtime::make_array<stm_place>(STM_MAX_PLACES);
    }

    [[nodiscard]] bool has_list() const noexcept { return list_.size() != 0; }
    // There is none yet.
    void use(List list) noexcept { list_ = runtime::move(list); }

    // STM_IOC_NAME_PLACE. Error::no_space, Error::not_found.
    [[nodiscard]] runtime::Status name(const stm_place& place) noexcept {
        u32 at = 0;
        while (at < count_ &&
               (list_[at].offset != place.offset || list_[at].length != place.length))
            ++at;
        if (place.name[0] == '\0')
            return remove(at);
        if (at == list_.size())
            return runtime::Error::no_space;
        list_[at] = place;
        if (at == count_)
            ++count_;
        return runtime::kSuccess;
    }

    // Copies as many as there is room for. Returns how many there are.
    [[nodiscard]] u32 list(runtime::Span<stm_place> room) const noexcept {
        for (u32 i = 0; i < count_ && i < room.size(); ++i)
            room[i] = list_[i];
        return count_;
    }

private:
    [[nodiscard]] runtime::Status remove(u32 at) noexcept {
        if (at == count_)
            return runtime::Error::not_found;
        for (--count_; at < count_; ++at)
            list_[at] = list_[at + 1];
        return runtime::kSuccess;
    }

    List list_;
    u32 count_ = 0;
};

} // namespace stm::kernel
