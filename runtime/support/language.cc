// SPDX-License-Identifier: LGPL-2.1-or-later
// Functions that g++ expects when it links freestanding C++. Only the module compiles this file; in
// user space libstdc++ has all of them. There is no operator new on purpose: a plain new-expression
// must not link.
#include "runtime/support/assert.hpp"
#include "runtime/support/types.hpp"

namespace std {
// The compiler knows this type; the declaration only gives it a definition.
enum class align_val_t : stm::runtime::usize {};
} // namespace std

// A class with a virtual destructor has a second destructor in its vtable, which ends in operator
// delete. In C++14 that gets the size, and in C++17 also the alignment of an over-aligned class.
// Nothing calls them, because nothing uses a delete-expression: destroy() runs the plain
// destructor.

void operator delete(void*) noexcept {
    stm::runtime::panic("operator delete: objects are destroyed by destroy()");
}

void operator delete(void*, stm::runtime::usize) noexcept {
    stm::runtime::panic("operator delete: objects are destroyed by destroy()");
}

void operator delete(void*, std::align_val_t) noexcept {
    stm::runtime::panic("operator delete: objects are destroyed by destroy()");
}

void operator delete(void*, stm::runtime::usize, std::align_val_t) noexcept {
    stm::runtime::panic("operator delete: objects are destroyed by destroy()");
}

// The entry of a pure virtual function in the vtable of an abstract class. It is called if a
// virtual function is called while that class is constructed or destroyed.
extern "C" void __cxa_pure_virtual() {
    stm::runtime::panic("a pure virtual function was called");
}
