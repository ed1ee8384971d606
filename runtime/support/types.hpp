// SPDX-License-Identifier: LGPL-2.1-or-later
// Integers of a fixed width, from the compiler alone: neither <cstdint> nor <linux/types.h> can be
// included everywhere this code is compiled.
//
// Invariants: u64 and usize are one type (x86-64, LP64). The __u64 of the UAPI headers is another
// type of the same width, so its conversion is visible.
#pragma once

namespace stm::runtime {

using u8 = __UINT8_TYPE__;
using u16 = __UINT16_TYPE__;
using u32 = __UINT32_TYPE__;
using u64 = __UINT64_TYPE__;
using i32 = __INT32_TYPE__;
using i64 = __INT64_TYPE__;
using usize = __SIZE_TYPE__;
using uptr = __UINTPTR_TYPE__;

static_assert(sizeof(u64) == 8 && sizeof(usize) == 8 && sizeof(uptr) == 8 && sizeof(void*) == 8);

} // namespace stm::runtime
