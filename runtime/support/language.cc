// SPDX-License-Identifier: LGPL-2.1-or-later
// What g++ expects to find when it links freestanding C++. Only the module compiles this file: in
// user space libstdc++ has all of it. There is no operator new on purpose: a plain new-expression
// shall not link.
#include "runtime/support/assert.hpp"
#include "runtime/support/types.hpp"

namespace std {
// Built into the compiler; the declaration only gives it a definition to refer to.
enum class align_val_t : stm::runtime::usize {};
} // namespace std

// A class with a virtual destructor has a second one in its vtable, which ends in operator delete,
// with the size in C++14, and with the alignment too for an over-aligned class in C++17. Nothing
// calls them, as nothing uses a delete-expression: destroy() runs the plain destructor.

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

// The entry of a pure virtual function in the vtable of an abstract class: it is reached when a
// virtual function is called during the construction or the destruction of that class.
extern "C" void __cxa_pure_virtual() {
    stm::runtime::panic("a pure virtual function was called");
}
