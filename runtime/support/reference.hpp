// SPDX-License-Identifier: LGPL-2.1-or-later
// Objects that several owners share. RefCounted<T> is their base with the counter; Ref<T> is one
// owner's reference.
//
// Invariants: an object begins with one reference, which make_ref() returns. Another reference
// comes from one that is alive, or from a lookup under a lock under which the destructor removes
// the object from the table. Such a lookup uses Ref::try_share(), which fails if the last reference
// is already gone.
//
// The counter never wraps. On overflow it saturates and the object is never freed: user space may
// be able to cause an overflow, and a leak harms less than a use after free. Counting below zero,
// and sharing an object without references, are defects and panic.
#pragma once

#include "runtime/support/allocate.hpp"
#include "runtime/support/assert.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

class ReferenceCounter : NonCopyable {
public:
    // From this value on the counter is saturated. It is set to the middle of that half of u32, so
    // that any number of threads that count at the same time cannot move it out.
    static constexpr u32 kSaturated = 0x8000'0000;

    constexpr explicit ReferenceCounter(u32 references = 1) noexcept : count_(references) {}

    // Needs a reference that is alive.
    void acquire() noexcept {
        const u32 before = count_.fetch_add(1, Order::relaxed);
        expects(before != 0, "ReferenceCounter: acquired without a reference");
        if (before >= kSaturated - 1) [[unlikely]]
            saturate();
    }

    // False if no reference is left; then nothing is counted.
    [[nodiscard]] bool try_acquire() noexcept {
        u32 count = count_.load(Order::relaxed);
        do {
            if (count == 0)
                return false;
            if (count >= kSaturated - 1) [[unlikely]] {
                saturate();
                return true;
            }
        } while (!count_.compare_exchange(count, count + 1, Order::acquire, Order::relaxed));
        return true;
    }

    // True if that was the last one. Then everything that the owners did happens before the return.
    [[nodiscard]] bool release() noexcept {
        const u32 before = count_.fetch_sub(1, Order::acq_rel);
        expects(before != 0, "ReferenceCounter: released without a reference");
        if (before >= kSaturated) [[unlikely]]
            saturate();
        return before == 1;
    }

    // For diagnosis only: it may have changed before the caller looks at it.
    [[nodiscard]] u32 count() const noexcept { return count_.load(Order::relaxed); }

private:
    void saturate() noexcept { count_.store(kSaturated + kSaturated / 2, Order::relaxed); }

    Atomic<u32> count_;
};

// The base of T. If a T must not be freed at once, because other processors may still look at it, T
// declares "static void last_reference_gone(T*)", which has to destroy() it.
template <typename T>
class RefCounted : NonCopyable {
public:
    [[nodiscard]] ReferenceCounter& references() const noexcept { return references_; }

protected:
    constexpr RefCounted() noexcept = default;
    ~RefCounted() { expects(references_.count() == 0, "RefCounted: destroyed while referenced"); }

private:
    // Counting does not change the object, so references to constant objects are possible.
    mutable ReferenceCounter references_;
};

template <typename T>
class [[nodiscard]] Ref {
public:
    // Refers to nothing.
    constexpr Ref() noexcept = default;

    // Takes over a reference that leak() gave away, or the first one.
    static Ref adopt(T* object) noexcept { return Ref(object); }

    // Adds a reference. The caller has one, or knows of one that is alive.
    static Ref share(T& object) noexcept {
        object.references().acquire();
        return Ref(&object);
    }

    // One more reference, or Error::not_found if the last one is gone. The caller prevents the
    // object from being freed meanwhile.
    [[nodiscard]] static Result<Ref> try_share(T& object) noexcept {
        if (!object.references().try_acquire())
            return Error::not_found;
        return Ref(&object);
    }

    Ref(const Ref& other) noexcept : object_(other.object_) {
        if (object_ != nullptr)
            object_->references().acquire();
    }
    Ref(Ref&& other) noexcept : object_(other.leak()) {}
    Ref& operator=(const Ref& other) noexcept {
        Ref copy(other);
        runtime::swap(object_, copy.object_);
        return *this;
    }
    Ref& operator=(Ref&& other) noexcept {
        Ref taken(runtime::move(other));
        runtime::swap(object_, taken.object_);
        return *this;
    }
    ~Ref() { reset(); }

    [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }
    [[nodiscard]] T* get() const noexcept { return object_; }
    [[nodiscard]] T& operator*() const noexcept { return *operator->(); }
    [[nodiscard]] T* operator->() const noexcept {
        expects(object_ != nullptr, "Ref: access through null");
        return object_;
    }
    // Whether both refer to the same object.
    [[nodiscard]] bool operator==(const Ref& other) const noexcept = default;

    // Gives up the reference. The last one destroys the object.
    void reset() noexcept {
        T* object = leak();
        if (object == nullptr || !object->references().release())
            return;
        if constexpr (requires { T::last_reference_gone(object); })
            T::last_reference_gone(object);
        else
            runtime::destroy(object);
    }

    // Gives the reference away as a plain pointer, for a C structure that keeps it; adopt() it
    // back.
    [[nodiscard]] T* leak() noexcept { return runtime::exchange(object_, nullptr); }

private:
    constexpr explicit Ref(T* object) noexcept : object_(object) {}

    T* object_ = nullptr;
};

// A new T with one reference, or Error::no_memory.
template <typename T, typename... Arguments>
[[nodiscard]] Result<Ref<T>> make_ref(Arguments&&... arguments) noexcept {
    Result<Unique<T>> object = make<T>(runtime::forward<Arguments>(arguments)...);
    if (!object.ok())
        return object.error();
    return Ref<T>::adopt(object->release());
}

} // namespace stm::runtime
