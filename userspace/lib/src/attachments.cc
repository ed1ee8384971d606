// SPDX-License-Identifier: LGPL-2.1-or-later
#include "attachments.hpp"

#include <cstdlib>

namespace stm::library {

Attachment* AttachmentTable::find_id_locked(int id) {
    for (std::size_t index = 0; index < count_; ++index)
        if (entries_[index].id == id)
            return &entries_[index];
    return nullptr;
}

Attachment* AttachmentTable::find_start_locked(std::uintptr_t address) {
    for (std::size_t index = 0; index < count_; ++index)
        if (entries_[index].address == address)
            return &entries_[index];
    return nullptr;
}

Attachment* AttachmentTable::find_within_locked(std::uintptr_t address) {
    for (std::size_t index = 0; index < count_; ++index)
        if (address >= entries_[index].address &&
            address - entries_[index].address < entries_[index].length)
            return &entries_[index];
    return nullptr;
}

int AttachmentTable::reserve_locked() {
    if (count_ < capacity_)
        return 0;
    std::size_t wanted = capacity_ == 0 ? 16 : capacity_ * 2;
    void* larger = reallocarray(entries_, wanted, sizeof(Attachment));
    if (larger == nullptr)
        return -1;
    entries_ = static_cast<Attachment*>(larger);
    capacity_ = wanted;
    return 0;
}

} // namespace stm::library
