// SPDX-License-Identifier: GPL-2.0
// One state of a whole transactional region, read while others write.
#pragma once

#include "contents.hpp"
#include "digest.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace stm::tools {

/** A mapping that ends with the object. */
class Window {
public:
    /** The part of the handle's file from the offset on, for loads. Failure. */
    Window(int fd, std::uint64_t offset, std::uint64_t bytes);
    ~Window();
    Window(const Window&) = delete;

    [[nodiscard]] const char* data() const { return static_cast<const char*>(data_); }

private:
    std::size_t bytes_;
    void* data_;
};

/**
 * Reads in passes, as a transaction does that begins again. A pass takes the clock as its snapshot.
 * It puts each page that is not known to be as it was at the snapshot before, and tells by the
 * page's ownership records whether what it has put is the state at its own snapshot. (How:
 * "Transactions that a program runs by itself" in <stm/ioctl.h>.) A page that others change at that
 * moment is missing, and the next pass puts it again. When none is missing, what was put is the
 * region at the last snapshot.
 *
 * Pages that have changed before come first in a pass, right behind its snapshot. If that does not
 * help, a pass runs in a serial transaction, so nobody commits meanwhile. Such a pass looks at all
 * records, an eighth of the region's bytes, and puts only what has changed since the one before.
 *
 * In a direct region a record may be locked by a thread that has ended in the middle of its commit,
 * or by nobody. The module is asked about those that are in the way after a pass.
 *
 * Pages that nobody has touched are zeros. They are not read, which would touch them.
 */
class Snapshot {
public:
    Snapshot(int fd, const struct stm_info& info);

    struct Result {
        std::uint64_t passes = 0;
        double alone_seconds = 0; // the longest time for which nobody else could commit
    };
    /**
     * Puts all of it. Several threads put parts at once, each another part; a part may be put
     * again. `digests`: of what was put, or nullptr. `progress` is told how much of the region the
     * pass with that number has behind it.
     */
    [[nodiscard]] Result
    read(Sink& sink, PartDigests* digests,
         const std::function<void(std::uint64_t bytes, std::uint64_t pass)>& progress);
    /** The parts whose digests are not known, because they changed while these were taken. */
    [[nodiscard]] std::vector<std::uint64_t> without_digest(const PartDigests& digests) const;

private:
    // So many pages are put by one thread; it has a bit for each.
    static constexpr std::uint64_t kPagesOfChunk = PartDigests::kPart / 4096;
    static_assert(kPagesOfChunk == 64);
    static constexpr std::uint64_t kNever = ~std::uint64_t{0};

    /** The pages of one chunk that somebody has touched. */
    struct Part {
        std::uint64_t chunk;
        std::uint64_t pages; // a bit for each
    };

    [[nodiscard]] std::uint64_t clock() const;
    [[nodiscard]] bool is_settled(std::uint64_t page, std::uint64_t count,
                                  std::uint64_t version) const;
    [[nodiscard]] std::vector<Part> touched_parts() const;
    [[nodiscard]] std::uint64_t stale_pages(const Part& part) const;
    [[nodiscard]] std::uint64_t put_part(const Part& part, Sink& sink);
    [[nodiscard]] std::uint64_t settled_pages(const Part& part, std::uint64_t pages) const;
    [[nodiscard]] std::string digest_of(const Part& part) const;
    [[nodiscard]] std::uint64_t run_pass(Sink& sink, Result& result);
    void settle(const std::vector<Part>& parts) const;

    int fd_;
    std::uint64_t size_;
    bool direct_;
    Window committed_;
    Window records_;
    Window clock_;
    PartDigests* digests_ = nullptr;
    std::function<void(std::uint64_t, std::uint64_t)> progress_;
    std::uint64_t previous_ = kNever; // the snapshot of the pass before
    std::uint64_t now_ = 0;           // that of this one
    // Of each chunk: the pages that do not have the state of `previous_`, a bit for each. Those
    // that nobody has touched are among them.
    std::vector<std::uint64_t> missing_;
    // Chunks of which something was put, and that have changed between passes. A byte each, for the
    // threads.
    std::vector<char> put_;
    std::vector<char> hot_;
};

} // namespace stm::tools
