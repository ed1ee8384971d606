// SPDX-License-Identifier: GPL-2.0
// The memory that a memory call is tried on, and what is left of it afterwards.
#pragma once

#include "guest.hpp"

#include <array>
#include <optional>
#include <string>

namespace stm::test {

/** What a mapping may show. */
enum class Kind {
    memfd,         /**< what Linux itself offers, to compare with */
    plain,         /**< a plain region */
    transactional, /**< a transactional region, outside of a transaction */
    inside,        /**< the same, in a transaction that has stored to every page */
};
inline constexpr std::array kKinds{Kind::memfd, Kind::plain, Kind::transactional, Kind::inside};

/** "memfd", "plain", "outside" or "inside". */
const char* name_of(Kind kind);

/**
 * A few mapped pages, each with a value of its own in its first word. The transaction of
 * Kind::inside is begun by the owner, since it must be begun in the function that commits it.
 *
 * A row that changes what the pages hold, or where they are, says so; whatever it has not said is
 * found by aftermath().
 */
class Subject {
public:
    static constexpr std::size_t kPages = 4;
    static constexpr std::size_t kBytes = kPages * kPage;

    explicit Subject(Kind kind);
    ~Subject();
    Subject(const Subject&) = delete;
    Subject& operator=(const Subject&) = delete;

    [[nodiscard]] Kind kind() const { return kind_; }
    [[nodiscard]] int fd() const { return fd_.get(); }
    /** One more open file of the same memory. */
    [[nodiscard]] Fd another() const;
    [[nodiscard]] char* page(std::size_t number = 0) const { return pages_[number]; }
    /** A word that holds 0 and which aftermath() does not look at. */
    [[nodiscard]] unsigned* word(std::size_t number = 0) const {
        return reinterpret_cast<unsigned*>(pages_[number] + kPage / 2);
    }
    [[nodiscard]] long value(std::size_t number) const { return values_[number]; }

    /** Stores another value to each page, by the program itself. */
    void store_all();

    /** The page is at another address; nullptr: at none. */
    void is_now_at(std::size_t number, void* address) {
        pages_[number] = static_cast<char*>(address);
    }
    void all_are_now_at(void* address);
    void holds_now(std::size_t number, long value) { values_[number] = value; }

    /** What the mapping does otherwise than before the call; empty if nothing. */
    [[nodiscard]] std::string changes() const;
    /** The same for what another handle reads. */
    [[nodiscard]] std::string changes_for_others() const;

private:
    Kind kind_;
    std::string name_;
    Fd fd_;
    std::array<char*, kPages> pages_{};
    std::array<long, kPages> values_{};
};

/** A load or store by the kernel on behalf of the program: it faults as the program's own would,
 * and fails instead of giving a signal. */
std::optional<long> load(const void* from);
bool store(void* to, long value);

/** The result of a system call: a number, or the name of errno. */
std::string said(long result);

/** What a child of fork says. */
std::string in_child(const std::function<std::string()>& body);

} // namespace stm::test
