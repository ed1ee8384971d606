// SPDX-License-Identifier: GPL-2.0
// A handle's view: its mappings, and the page tables of those.
#pragma once

#include "kernel/interface/services.h"

#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

struct stm_view {
    stm_identity* identity = nullptr;
    mutable std::mutex lock; // i_mmap_rwsem
    std::map<std::uint64_t, stm_mapping> mappings;
    std::uint64_t next_mapping = 0;
    // The page tables of transactional mappings. Each entry has a reference.
    struct Entry {
        stm_page* page = nullptr;
        bool writable = false;
        __u8 touched = 0;
    };
    std::map<std::pair<const stm_memory*, std::uint64_t>, Entry> pages;
};
