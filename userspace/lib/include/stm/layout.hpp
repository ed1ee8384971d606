// SPDX-License-Identifier: LGPL-2.1-or-later
// A number that differs when two programs mean different things by one type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <typeinfo>

namespace stm {

/**
 * Which members a type has, in their order:
 *
 *	struct bank {
 *	    stm::var<long> accounts[1024];
 *	    stm::var<long> total;
 *	    using layout = stm::members<&bank::accounts, &bank::total>;
 *	};
 *
 * With it the fingerprint has the names, types and places of all these, and of their members in
 * turn. Without it, only the type's own name, size and alignment.
 */
template <auto... Members>
struct members {};

namespace detail {

class fingerprint {
public:
    // FNV-1a: it need not withstand anybody.
    constexpr void add(std::string_view text) {
        for (const char c : text)
            add_byte(static_cast<unsigned char>(c));
        add_byte(0);
    }
    constexpr void add(std::uint64_t number) {
        for (int shift = 0; shift < 64; shift += 8)
            add_byte(static_cast<unsigned char>(number >> shift));
    }
    [[nodiscard]] constexpr std::uint64_t value() const { return hash_; }

    template <typename T>
    void add_type() {
        add(std::string_view(typeid(T).name())); // the same for all compilers of one C++ ABI
        add(std::uint64_t{sizeof(T)});
        add(std::uint64_t{alignof(T)});
        if constexpr (std::is_array_v<T>)
            add_type<std::remove_all_extents_t<T>>();
        else if constexpr (requires { typename T::layout; })
            add_members<T>(typename T::layout{});
    }

private:
    constexpr void add_byte(unsigned char byte) { hash_ = (hash_ ^ byte) * 0x100000001b3; }

    template <typename T, auto... Members>
    void add_members(members<Members...> all) {
        add(std::string_view(typeid(all).name()));
        (add_member<T>(Members), ...);
    }

    template <typename T, typename Member>
    void add_member(Member T::*member) {
        // Where a member lies is the same in every object, and nothing is read of this one.
        alignas(T) static const std::byte room[sizeof(T)] = {};
        const T& object = reinterpret_cast<const T&>(room);
        const auto place = reinterpret_cast<std::uintptr_t>(std::addressof(object.*member));
        add(std::uint64_t{place - reinterpret_cast<std::uintptr_t>(&room)});
        add_type<Member>();
    }

    std::uint64_t hash_ = 0xcbf29ce484222325;
};

} // namespace detail

template <typename T>
[[nodiscard]] std::uint64_t fingerprint_of() {
    detail::fingerprint all;
    all.add_type<T>();
    return all.value();
}

} // namespace stm
