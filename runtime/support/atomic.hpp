// SPDX-License-Identifier: LGPL-2.1-or-later
// Atomic variables, and copies of memory that others may change meanwhile.
//
// Invariants: every access states its order; there is no default. An Atomic<T> has the size and
// alignment of T and is lock-free, so it may live in memory that processes share.
#pragma once

#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

enum class Order : int {
    relaxed = __ATOMIC_RELAXED,
    acquire = __ATOMIC_ACQUIRE,
    release = __ATOMIC_RELEASE,
    acq_rel = __ATOMIC_ACQ_REL,
    seq_cst = __ATOMIC_SEQ_CST,
};

template <typename T>
concept atomic_value = trivially_copyable<T> && __atomic_always_lock_free(sizeof(T), nullptr);

template <atomic_value T>
class Atomic : NonCopyable {
public:
    constexpr Atomic() noexcept = default;
    constexpr explicit Atomic(T value) noexcept : value_(value) {}

    [[nodiscard, gnu::always_inline]] T load(Order order) const noexcept {
        T value;
        __atomic_load(&value_, &value, static_cast<int>(order));
        return value;
    }

    // bits | load(acquire), in one instruction; compilers would make two.
    [[nodiscard, gnu::always_inline]] T
    load_or(T bits) const noexcept requires unsigned_integer<T> &&(sizeof(T) == 8) {
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        asm volatile("orq %1, %0" : "+r"(bits) : "m"(value_) : "cc", "memory");
        return bits;
#else
        return bits | load(Order::acquire);
#endif
    }

    // value == load(acquire), in one instruction; compilers would make two.
    [[nodiscard, gnu::always_inline]] bool
    is(T value) const noexcept requires unsigned_integer<T> &&(sizeof(T) == 8) {
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        bool equal;
        asm volatile("cmpq %2, %1" : "=@cce"(equal) : "m"(value_), "r"(value) : "memory");
        return equal;
#else
        return load(Order::acquire) == value;
#endif
    }

    // bits * 2 + (load(acquire) > limit), in two instructions; compilers would make five.
    [[nodiscard, gnu::always_inline]] T
    append_is_above(T bits, T limit) const noexcept requires unsigned_integer<T> &&
        (sizeof(T) == 8) {
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        asm volatile("cmpq %1, %2\n\tadcq %0, %0"
                     : "+r"(bits)
                     : "m"(value_), "r"(limit)
                     : "cc", "memory");
        return bits;
#else
        return bits << 1 | T{load(Order::acquire) > limit};
#endif
    }

    [[gnu::always_inline]] void store(T value, Order order) noexcept {
        __atomic_store(&value_, &value, static_cast<int>(order));
    }

    // Stores the value and returns the old one.
    [[gnu::always_inline]] T exchange(T value, Order order) noexcept {
        T old;
        __atomic_exchange(&value_, &value, &old, static_cast<int>(order));
        return old;
    }

    // If the variable has the expected value, stores desired and returns true. Otherwise loads its
    // value into expected and returns false. Never fails spuriously.
    [[nodiscard, gnu::always_inline]] bool compare_exchange(T& expected, T desired, Order success,
                                                            Order failure) noexcept {
        return __atomic_compare_exchange(&value_, &expected, &desired, false,
                                         static_cast<int>(success), static_cast<int>(failure));
    }

    // The arithmetic wraps around. Each returns the old value.
    [[gnu::always_inline]] T fetch_add(T value, Order order) noexcept requires integer<T> {
        return __atomic_fetch_add(&value_, value, static_cast<int>(order));
    }

    [[gnu::always_inline]] T fetch_sub(T value, Order order) noexcept requires integer<T> {
        return __atomic_fetch_sub(&value_, value, static_cast<int>(order));
    }

    [[gnu::always_inline]] T fetch_or(T value, Order order) noexcept requires unsigned_integer<T> {
        return __atomic_fetch_or(&value_, value, static_cast<int>(order));
    }

    [[gnu::always_inline]] T fetch_and(T value, Order order) noexcept requires unsigned_integer<T> {
        return __atomic_fetch_and(&value_, value, static_cast<int>(order));
    }

private:
    alignas(sizeof(T)) T value_{};
};

// ThreadSanitizer does not model fences. Code that it is to check orders its accesses by
// themselves.
[[gnu::always_inline]] inline void fence(Order order) noexcept {
#ifdef __SANITIZE_THREAD__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
    __atomic_thread_fence(static_cast<int>(order));
#ifdef __SANITIZE_THREAD__
#pragma GCC diagnostic pop
#endif
}

// Tells the processor that this loop waits for another processor.
[[gnu::always_inline]] inline void spin_hint() noexcept {
#ifdef __x86_64__
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield" : : : "memory");
#endif
}

namespace detail {

// The bytes on both sides have any type, hence may_alias.
using SharedWord [[gnu::may_alias]] = u64;

// The number of bytes before the first whole word at the address; at most bytes.
inline usize bytes_before_word(const void* address, usize bytes) noexcept {
    const usize head = -reinterpret_cast<uptr>(address) & (sizeof(SharedWord) - 1);
    return runtime::min(head, bytes);
}

// One step of a copy: a byte, or a word that is aligned on the shared side.
struct FromShared {
    static const u8* shared_side(const u8*, const u8* source) noexcept { return source; }
    [[gnu::always_inline]] static void byte(u8* target, const u8* source) noexcept {
        *target = __atomic_load_n(source, __ATOMIC_RELAXED);
    }
    [[gnu::always_inline]] static void word(u8* target, const u8* source) noexcept {
        const u64 value =
            __atomic_load_n(reinterpret_cast<const SharedWord*>(source), __ATOMIC_RELAXED);
        __builtin_memcpy(target, &value, sizeof(value));
    }
};

struct ToShared {
    static const u8* shared_side(const u8* target, const u8*) noexcept { return target; }
    [[gnu::always_inline]] static void byte(u8* target, const u8* source) noexcept {
        __atomic_store_n(target, *source, __ATOMIC_RELAXED);
    }
    [[gnu::always_inline]] static void word(u8* target, const u8* source) noexcept {
        u64 value;
        __builtin_memcpy(&value, source, sizeof(value));
        __atomic_store_n(reinterpret_cast<SharedWord*>(target), value, __ATOMIC_RELAXED);
    }
};

// The string instruction of x86-64 copies whole words, much faster than a loop, but takes some time
// to begin. Sanitizers do not see what it does.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
inline constexpr usize kStringBytes = 1024;
#else
inline constexpr usize kStringBytes = ~usize{0};
#endif

// Advances the addresses. Copies at least kStringBytes, so only x86-64 comes here. The direction
// flag is clear, as always in C++ code.
[[gnu::always_inline]] inline void copy_words([[maybe_unused]] u8*& target,
                                              [[maybe_unused]] const u8*& source,
                                              [[maybe_unused]] usize words) noexcept {
#ifdef __x86_64__
    asm volatile("rep movsq" : "+D"(target), "+S"(source), "+c"(words) : : "memory");
#endif
}

template <typename Step>
void copy_shared(u8* target, const u8* source, usize bytes) noexcept {
    constexpr usize kWord = sizeof(u64);
    constexpr usize kBlock = 8 * kWord;

    usize head = bytes_before_word(Step::shared_side(target, source), bytes);
    bytes -= head;
    for (; head != 0; --head)
        Step::byte(target++, source++);

    if (bytes >= kStringBytes) {
        copy_words(target, source, bytes / kWord);
        bytes %= kWord;
    }
    // Unrolled by hand, because the compiler does not unroll loops of atomic accesses.
    for (; bytes >= kBlock; bytes -= kBlock, target += kBlock, source += kBlock) {
        Step::word(target, source);
        Step::word(target + kWord, source + kWord);
        Step::word(target + 2 * kWord, source + 2 * kWord);
        Step::word(target + 3 * kWord, source + 3 * kWord);
        Step::word(target + 4 * kWord, source + 4 * kWord);
        Step::word(target + 5 * kWord, source + 5 * kWord);
        Step::word(target + 6 * kWord, source + 6 * kWord);
        Step::word(target + 7 * kWord, source + 7 * kWord);
    }
    for (; bytes >= kWord; bytes -= kWord, target += kWord, source += kWord)
        Step::word(target, source);

    for (; bytes != 0; --bytes)
        Step::byte(target++, source++);
}

} // namespace detail

// Copies bytes out of memory that others may write at the same time, or into memory that others may
// read or write at the same time. Nothing outside the two ranges is touched. They must not overlap;
// either may be unaligned. The result can be a mixture of old and new bytes, and the copy orders
// nothing: the caller validates, and places acquire and release around it.
//
// Every access to the shared side is relaxed and atomic, of an aligned 8-byte word or of a byte at
// the edges. So an aligned word is never torn, and no race detector sees a race between two such
// copies. On x86-64 a word costs one plain load and one plain store, or less in long copies.
inline void copy_from_shared(void* to, const void* from, usize bytes) noexcept {
    detail::copy_shared<detail::FromShared>(static_cast<u8*>(to), static_cast<const u8*>(from),
                                            bytes);
}

// One such word, aligned.
[[nodiscard]] [[gnu::always_inline]] inline u64 load_shared_word(const void* from) noexcept {
    return __atomic_load_n(static_cast<const detail::SharedWord*>(from), __ATOMIC_RELAXED);
}

[[gnu::always_inline]] inline void store_shared_word(void* to, u64 word) noexcept {
    __atomic_store_n(static_cast<detail::SharedWord*>(to), word, __ATOMIC_RELAXED);
}

// word ^ load_shared_word(from), in one instruction; compilers would make two.
[[nodiscard]] [[gnu::always_inline]] inline u64 xor_shared_word(u64 word,
                                                                const void* from) noexcept {
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    asm("xorq %1, %0" : "+r"(word) : "m"(*static_cast<const detail::SharedWord*>(from)) : "cc");
    return word;
#else
    return word ^ load_shared_word(from);
#endif
}

// word == load_shared_word(from), by one comparison.
[[nodiscard]] [[gnu::always_inline]] inline bool equals_shared_word(u64 word,
                                                                    const void* from) noexcept {
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    bool equal;
    asm("cmpq %2, %1"
        : "=@cce"(equal)
        : "r"(word), "m"(*static_cast<const detail::SharedWord*>(from)));
    return equal;
#else
    return word == load_shared_word(from);
#endif
}

inline void copy_to_shared(void* to, const void* from, usize bytes) noexcept {
    detail::copy_shared<detail::ToShared>(static_cast<u8*>(to), static_cast<const u8*>(from),
                                          bytes);
}

} // namespace stm::runtime
