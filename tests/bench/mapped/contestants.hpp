// SPDX-License-Identifier: GPL-2.0
// Ways to touch some pages of shared memory so that it happens as a whole or not at all, and the
// floor, which only pretends to.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace stm::bench {

inline constexpr std::size_t kPage = 4096;
inline constexpr std::size_t kMostPages = 64;

enum class Access { load, store };

class Contestant {
public:
    virtual ~Contestant() = default;
    /** Before the first of some runs that are measured. */
    virtual void prepare() {}
    /** Once: loads a number from, or stores one to, each of the first pages. */
    virtual void run(Access access, std::size_t pages) = 0;
};

/** A transaction in a mapping of a region. Cold: with a page fault for each page. Predicted: the
 * pages of the last one are mapped at its start. */
enum class Start { cold, predicted };
std::unique_ptr<Contestant> make_transaction(Start start);
/** The module under tests/bench/floor: a fault with a copy for each page, one ioctl that takes them
 * out of the mapping again. Loads the module, and unloads it at the end. */
std::unique_ptr<Contestant> make_floor(const std::string& module_file);
/** A robust mutex shared by processes, in memory that they share; before a page is stored to it is
 * copied, so that who finds the owner dead can undo what he did. */
std::unique_ptr<Contestant> make_mutex();

} // namespace stm::bench
