// SPDX-License-Identifier: LGPL-2.1-or-later
// What a transaction's function gets: loads, stores, waiting, parts, and the allocator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <stm/detail/attachment.hpp>
#include <stm/detail/attempt.hpp>
#include <stm/heap.h>
#include <stm/var.hpp>
#include <type_traits>
#include <utility>

namespace stm {

template <typename T>
class reference;

namespace detail {

/** What a function of a transaction returns, which is a value where it is a reference. */
template <typename R>
struct returned {
    using type = R;
};
template <typename T>
struct returned<reference<T>> {
    using type = T;
};
template <typename T>
struct returned<const reference<T>&> {
    using type = T;
};
template <typename F, typename Tx>
using returned_by = typename returned<std::invoke_result_t<F&, Tx&>>::type;

/** Zeros what lies between a value's members, with compilers that can. */
template <typename T>
void clear_padding([[maybe_unused]] T& value) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(&value);
#endif
#endif
}

} // namespace detail

/**
 * A transaction that only reads: what the function of read_only() gets
 *
 * Everything that it loads is one consistent state, whatever others do meanwhile. It is a view,
 * which may be copied, and is valid until the function returns, on its thread.
 *
 * Every function may throw restart, which is for the library to catch; and std::system_error with
 * the errors of <stm/tx.h>. After one from a load or a store nothing can be committed any more.
 */
class read_transaction {
public:
    // -- Loads --

    template <typename T>
    [[nodiscard]] T load(const var<T>& x) const {
        const auto address = reinterpret_cast<std::uintptr_t>(std::addressof(x));
        const detail::attachment& where = region_of(address);
        return load_from<T>(where, address - where.base);
    }
    template <typename T>
    [[nodiscard]] T operator[](const var<T>& x) const {
        return load(x);
    }
    /** Elements of an array of var, all at once. */
    template <typename T, std::size_t N>
    void load(std::span<const std::type_identity_t<var<T>>> from, std::span<T, N> to) const {
        require_room(from.size(), to.size());
        if (from.empty())
            return;
        const auto address = reinterpret_cast<std::uintptr_t>(from.data());
        const detail::attachment& where = region_of(address);
        load_bytes(where, address - where.base, to.data(), from.size_bytes());
    }
    /** A value, or bytes, at an offset of the transaction's region. */
    template <shareable T>
    [[nodiscard]] T load(std::uint64_t offset) const {
        return load_from<T>(*home_, offset);
    }
    template <shareable T, std::size_t N>
    void load(std::uint64_t offset, std::span<T, N> to) const {
        load_bytes(*home_, offset, to.data(), to.size_bytes());
    }

    // -- Objects in the region --

    /** The object that p points to. Its variables are used by way of the transaction. */
    template <typename T>
    [[nodiscard]] T& operator[](ptr<T> p) const {
        return *reinterpret_cast<T*>(home_->base + p.offset());
    }
    template <typename T>
    [[nodiscard]] T& operator[](const reference<ptr<T>>& p) const {
        return (*this)[p.get()];
    }
    template <typename T>
    [[nodiscard]] ptr<T> ptr_to(T& object) const {
        const auto address = reinterpret_cast<std::uintptr_t>(std::addressof(object));
        return ptr<T>(address - region_of(address).base);
    }
    /** The same transaction, for which pointers are into the region that this object is in. */
    template <typename T>
    [[nodiscard]] read_transaction in(const T& object) const {
        return {*attempt_, region_of(reinterpret_cast<std::uintptr_t>(std::addressof(object)))};
    }

    // -- Waiting --

    /**
     * Undoes everything, sleeps until something that was loaded changes, and runs the function from
     * its beginning. In the first alternative of or_else() it is the other one that runs instead.
     */
    [[noreturn]] void retry() const { retry_until(detail::clock::time_point::max()); }
    /** The same; if nothing changes until then, the whole transaction throws timed_out. */
    [[noreturn]] void retry_until(std::chrono::steady_clock::time_point until) const {
        if ((attempt_->flags() & STM_TX_SERIAL) != 0)
            throw std::logic_error("stm: an irrevocable transaction cannot retry");
        attempt_->block(until);
    }

    /** Runs a; if it retries, its effects are undone, and b runs. If b does, too, both wait. */
    template <typename A, typename B>
    decltype(auto) or_else(A&& a, B&& b) const {
        return either(*this, a, b);
    }
    /** Runs f as a part: if it throws, the part alone is undone, and the exception goes on. */
    template <typename F>
    decltype(auto) nested(F&& f) const {
        return within_part(*this, f);
    }

    // -- The rest --

    /** What is to be done once, when the transaction is committed and over. In order. */
    void on_commit(detail::attempt::action what) const { attempt_->add_on_commit(std::move(what)); }
    /**
     * What is to be done when this attempt, or the part that runs, is undone: because it runs
     * again, or throws. The last one comes first. It must not throw, nor use a transaction.
     */
    void on_abort(detail::attempt::action what) const { attempt_->add_on_abort(std::move(what)); }

    /** For long computations between loads: runs again now if what was loaded has changed. */
    void check() const {
        if (stm_tx_valid(attempt_->tx()) == 0)
            attempt_->check(STM_TX_AGAIN);
    }
    /** Attempts before this one that ended in a conflict. */
    [[nodiscard]] unsigned conflicts() const { return stm_tx_conflicts(attempt_->tx()); }
    /** For functions of <stm/tx.h> and <stm/heap.h>; their results go to expect(). */
    [[nodiscard]] stm_tx* handle() const { return attempt_->tx(); }
    [[nodiscard]] stm_region* region_handle() const { return home_->handle; }
    void expect(int result) const { attempt_->check(result); }

    /** For the library's own functions. */
    read_transaction(detail::attempt& attempt, const detail::attachment& home)
        : attempt_(&attempt), home_(&home), view_(stm_tx_view_of(attempt.tx())) {}

protected:
    [[nodiscard]] const detail::attachment& region_of(std::uintptr_t address) const {
        if (home_->holds(address)) [[likely]]
            return *home_;
        return other_region_of(address);
    }

    template <typename T>
    [[nodiscard]] T load_from(const detail::attachment& where, std::uint64_t offset) const {
        union room { // for a T without a default constructor
            room() {}
            T value;
        } to;
        if constexpr (sizeof(T) <= sizeof(std::uint64_t)) {
            const std::uint64_t inside = offset % sizeof(std::uint64_t);
            std::uint64_t word = 0; // compilers do not see that it is set where it is looked at
            if (inside + sizeof(T) <= sizeof word && peek_word(where, offset - inside, word))
                [[likely]] {
                std::memcpy(static_cast<void*>(std::addressof(to.value)),
                            reinterpret_cast<const std::byte*>(&word) + inside, sizeof(T));
                return to.value;
            }
        }
        load_bytes(where, offset, std::addressof(to.value), sizeof(T));
        return to.value;
    }
    /** Loads the aligned word around a value, if nothing is in the way. */
    [[nodiscard]] bool peek_word(const detail::attachment& where, std::uint64_t offset,
                                 std::uint64_t& to) const {
        // While the transaction may store, nothing is below the view's bound.
        if (offset < view_.bound && where.handle == view_.region)
            return stm_tx_view_peek_word(&view_, offset, &to) != 0;
        return stm_tx_peek_word(attempt_->tx(), where.handle, offset, &to) != 0;
    }
    void load_bytes(const detail::attachment& where, std::uint64_t offset, void* to,
                    std::size_t bytes) const {
        attempt_->check(stm_tx_load(attempt_->tx(), where.handle, offset, to, bytes));
    }

    static void require_room(std::size_t wanted, std::size_t there) {
        if (wanted > there)
            throw std::length_error("stm: the ranges do not have the same length");
    }

    template <typename Tx, typename F>
    static detail::returned_by<F, Tx> within_part(const Tx& tx, F&& f) {
        using R = detail::returned_by<F, Tx>;
        Tx view = tx;
        detail::part inner(*tx.attempt_);
        if constexpr (std::is_void_v<R>) {
            f(view);
            inner.keep();
        } else {
            R result = f(view);
            inner.keep();
            return static_cast<R&&>(result);
        }
    }

    template <typename Tx, typename A, typename B>
    static detail::returned_by<A, Tx> either(const Tx& tx, A&& a, B&& b) {
        using R = detail::returned_by<A, Tx>;
        Tx view = tx;
        detail::part first(*tx.attempt_);
        try {
            if constexpr (std::is_void_v<R>) {
                a(view);
                first.keep();
                return;
            } else {
                R result = a(view);
                first.keep();
                return static_cast<R&&>(result);
            }
        } catch (const restart&) {
            if (tx.attempt_->now() != detail::attempt::state::blocked)
                throw;
            tx.attempt_->unblock();
            first.undo();
        }
        return b(view);
    }

    detail::attempt* attempt_;
    const detail::attachment* home_;

private:
    stm_tx_view view_;

    [[nodiscard]] const detail::attachment& other_region_of(std::uintptr_t address) const {
        const detail::attachment* found = detail::attachments::all().find(address);
        if (found == nullptr)
            throw std::logic_error("stm: the object is in no region that is open");
        if ((attempt_->flags() & STM_TX_SERIAL) != 0)
            throw std::logic_error("stm: an irrevocable transaction has one region");
        return *found;
    }
};

/** A transaction: what the function of atomically() gets. See read_transaction, too. */
class transaction : public read_transaction {
public:
    using read_transaction::read_transaction;

    // -- Stores --

    using read_transaction::operator[];
    template <typename T>
    [[nodiscard]] reference<T> operator[](var<T>& x) const {
        return reference<T>(*this, x);
    }
    template <typename T>
    void store(var<T>& x, const std::type_identity_t<T>& value) const {
        const auto address = reinterpret_cast<std::uintptr_t>(std::addressof(x));
        const detail::attachment& where = region_of(address);
        store_to(where, address - where.base, value);
    }
    template <typename T, std::size_t N>
    void store(std::span<std::type_identity_t<var<std::remove_const_t<T>>>> to,
               std::span<T, N> from) const {
        require_room(from.size(), to.size());
        if (from.empty())
            return;
        const auto address = reinterpret_cast<std::uintptr_t>(to.data());
        const detail::attachment& where = region_of(address);
        store_bytes(where, address - where.base, from.data(), from.size_bytes());
    }
    template <shareable T>
    void store(std::uint64_t offset, const T& value) const {
        store_to(*home_, offset, value);
    }
    template <typename T, std::size_t N>
    requires shareable<std::remove_const_t<T>>
    void store(std::uint64_t offset, std::span<T, N> from) const {
        store_bytes(*home_, offset, from.data(), from.size_bytes());
    }

    // -- Objects --

    template <typename T>
    [[nodiscard]] transaction in(const T& object) const {
        return {*attempt_, region_of(reinterpret_cast<std::uintptr_t>(std::addressof(object)))};
    }

    /** An object of the region, constructed from these arguments: as an aggregate if T is one. */
    template <typename T, typename... Arguments>
    [[nodiscard]] ptr<T> make(Arguments&&... arguments) const {
        static_assert(std::is_trivially_destructible_v<T> && !std::is_polymorphic_v<T>,
                      "stm: an object in a region has neither a destructor nor virtual functions");
        static_assert(!detail::holds_address<T>,
                      "stm: an address means nothing in another process");
        // It is constructed in private memory, and then copied. What lies between its members is
        // zero.
        const ptr<T> made(allocate(sizeof(T), alignof(T)));
        with_room<T>([&](void* room) {
            if constexpr (std::is_constructible_v<T, Arguments...>)
                ::new (room) T(std::forward<Arguments>(arguments)...);
            else
                ::new (room) T{std::forward<Arguments>(arguments)...};
            store_bytes(*home_, made.offset(), room, sizeof(T));
        });
        return made;
    }
    /** Variables in a row, which are zero; made[p + i] is one of them. */
    template <typename T>
    [[nodiscard]] ptr<var<T>> make_array(std::size_t count) const {
        if (count > home_->size / sizeof(T))
            throw std::bad_alloc();
        const ptr<var<T>> made(allocate(count * sizeof(T), alignof(T)));
        static constexpr std::byte zeros[4096] = {};
        for (std::size_t done = 0, bytes = count * sizeof(T); done < bytes; done += sizeof zeros)
            store_bytes(*home_, made.offset() + done, zeros, std::min(bytes - done, sizeof zeros));
        return made;
    }
    /** Frees what make() or make_array() has made. A container's elements, too, but not those of a
     * container that is a member: clear() it first. The null pointer is allowed. */
    template <typename T>
    void destroy(ptr<T> p) const {
        if (p == nullptr)
            return;
        if constexpr (requires(T & object, const transaction& tx) { object.clear(tx); })
            (*this)[p].clear(*this);
        deallocate(p.offset());
    }

    /**
     * Bytes of the region, as an offset; what they hold is undefined. All of this is undone with
     * the transaction. Throws std::bad_alloc if there is no room; the transaction may go on then.
     */
    [[nodiscard]] std::uint64_t allocate(std::size_t bytes, std::size_t alignment = 16) const {
        std::uint64_t offset = 0;
        const int result =
            stm_heap_allocate(attempt_->tx(), home_->handle, bytes, alignment, &offset);
        if (result < 0 && errno == ENOSPC)
            throw std::bad_alloc();
        attempt_->check(result);
        return offset;
    }
    /** Throws std::system_error with EINVAL if nothing that is allocated begins there. */
    void deallocate(std::uint64_t offset) const {
        attempt_->check(stm_heap_free(attempt_->tx(), home_->handle, offset));
    }

    // -- Parts, as those of read_transaction --

    template <typename A, typename B>
    decltype(auto) or_else(A&& a, B&& b) const {
        return either(*this, a, b);
    }
    template <typename F>
    decltype(auto) nested(F&& f) const {
        return within_part(*this, f);
    }

private:
    template <typename T>
    void store_to(const detail::attachment& where, std::uint64_t offset, const T& value) const {
        // What lies between the members of a value is undefined, and not for others to see.
        if constexpr (!std::has_unique_object_representations_v<T> &&
                      !std::is_floating_point_v<T>) {
            T copy = value;
            detail::clear_padding(copy);
            store_bytes(where, offset, std::addressof(copy), sizeof copy);
        } else {
            store_bytes(where, offset, std::addressof(value), sizeof value);
        }
    }
    void store_bytes(const detail::attachment& where, std::uint64_t offset, const void* from,
                     std::size_t bytes) const {
        std::uint64_t word;
        if (bytes == sizeof word) {
            std::memcpy(&word, from, sizeof word);
            attempt_->check(stm_tx_store_word(attempt_->tx(), where.handle, offset, word));
        } else {
            attempt_->check(stm_tx_store(attempt_->tx(), where.handle, offset, from, bytes));
        }
    }

    /** Calls f with zeroed private memory for a T, on the stack if it is small. */
    template <typename T, typename F>
    static void with_room(F&& f) {
        if constexpr (sizeof(T) <= 1024) {
            alignas(T) std::byte room[sizeof(T)] = {};
            f(room);
        } else {
            struct free {
                void operator()(void* room) const {
                    ::operator delete (room, std::align_val_t{alignof(T)});
                }
            };
            const std::unique_ptr<void, free> room(
                ::operator new (sizeof(T), std::align_val_t{alignof(T)}));
            std::memset(room.get(), 0, sizeof(T));
            f(room.get());
        }
    }
};

} // namespace stm

#include <stm/reference.hpp> // IWYU pragma: export
