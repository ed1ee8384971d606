// SPDX-License-Identifier: LGPL-2.1-or-later
// Names: StringView is a view of characters that another object owns; FixedString<N> holds up to N
// characters in itself.
//
// Invariants: a name is never empty and contains no zero byte. A name from user space passes
// through from_field() or from_bytes(). Names are compared in full and as bytes: no case, no
// locale.
#pragma once

#include "runtime/support/result.hpp"
#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"

namespace stm::runtime {

class StringView {
public:
    constexpr StringView() noexcept = default;
    constexpr StringView(const char* data, usize size) noexcept : chars_(data, size) {}
    // From a literal, without its terminator.
    template <usize kSize>
    constexpr StringView(const char (&literal)[kSize]) noexcept : chars_(literal, kSize - 1) {}

    [[nodiscard]] constexpr const char* data() const noexcept { return chars_.data(); }
    [[nodiscard]] constexpr usize size() const noexcept { return chars_.size(); }
    [[nodiscard]] constexpr bool empty() const noexcept { return chars_.empty(); }
    [[nodiscard]] constexpr const char* begin() const noexcept { return chars_.begin(); }
    [[nodiscard]] constexpr const char* end() const noexcept { return chars_.end(); }
    [[nodiscard]] constexpr char operator[](usize index) const noexcept { return chars_[index]; }
    [[nodiscard]] ByteSpan bytes() const noexcept { return as_bytes(chars_); }

    [[nodiscard]] constexpr bool operator==(StringView other) const noexcept {
        if (size() != other.size())
            return false;
        for (usize index = 0; index < size(); ++index) {
            if (chars_[index] != other.chars_[index])
                return false;
        }
        return true;
    }

    // Whether all characters are visible ASCII: no blank, no control character, nothing that could
    // forge a line of a log.
    [[nodiscard]] constexpr bool is_graphic() const noexcept {
        for (const char character : *this) {
            if (character <= ' ' || character > '~')
                return false;
        }
        return true;
    }

private:
    Span<const char> chars_;
};

template <usize kCapacity>
class FixedString {
    static_assert(kCapacity > 0 && kCapacity <= 0xffff);

public:
    // From a field of a fixed size that ends with zeros. The name is the part before the first
    // zero. Error::name_too_long if the field has no zero, or the name more than kCapacity
    // characters; Error::invalid if the name is empty, or something other than zeros follows the
    // first one.
    [[nodiscard]] static constexpr Result<FixedString> from_field(Span<const char> field) noexcept {
        usize length = 0;
        while (length < field.size() && field[length] != '\0')
            ++length;
        if (length == field.size())
            return Error::name_too_long;
        for (usize index = length; index < field.size(); ++index) {
            if (field[index] != '\0')
                return Error::invalid;
        }
        return from_bytes(StringView(field.data(), length));
    }

    // From characters whose number is known. Errors as from_field(); a zero byte is invalid.
    [[nodiscard]] static constexpr Result<FixedString> from_bytes(StringView name) noexcept {
        if (name.empty())
            return Error::invalid;
        if (name.size() > kCapacity)
            return Error::name_too_long;
        FixedString result;
        for (const char character : name) {
            if (character == '\0')
                return Error::invalid;
            result.chars_[result.size_++] = character;
        }
        return result;
    }

    [[nodiscard]] constexpr usize size() const noexcept { return size_; }
    [[nodiscard]] constexpr StringView view() const noexcept { return {chars_, size_}; }
    // Ends with a zero byte.
    [[nodiscard]] constexpr const char* c_str() const noexcept { return chars_; }

    [[nodiscard]] constexpr bool operator==(const FixedString& other) const noexcept {
        return view() == other.view();
    }

private:
    constexpr FixedString() noexcept = default;

    // All bytes behind the name are zero.
    char chars_[kCapacity + 1] = {};
    u16 size_ = 0;
};

} // namespace stm::runtime
