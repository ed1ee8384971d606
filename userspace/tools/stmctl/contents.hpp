// SPDX-License-Identifier: GPL-2.0
// A region's bytes as a whole: read as one state, and written somewhere else.
#pragma once

#include "command.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace stm::tools {

/** Which state of a region is read. */
enum class Consistency {
    whole,  // one state of all of it; of a plain region there is none, and it is read in pieces
    pieces, // each 256 KiB are one state
};

/**
 * Where the bytes go. Those that are not put are zero. Several threads put parts at once, none of
 * which share a chunk of 256 KiB, and may put a part again: what is put last counts.
 */
class Sink {
public:
    virtual ~Sink() = default;
    virtual void put(std::uint64_t offset, const char* data, std::size_t size) = 0;
    /** What has been put there; the caller's thread is the only one that uses it. */
    virtual void get(std::uint64_t offset, char* to, std::size_t size) = 0;
    /** Throws if nothing more is wanted. Asked often, by any thread. */
    virtual void go_on() const {}
};

enum class Digested { yes, no };

/** What was read. */
struct Reading {
    std::uint64_t size = 0;
    std::uint64_t passes = 1;
    double alone_seconds = 0; // the longest time for which nobody else could commit
    std::string digest;       // of all bytes, by PartDigests; empty: not asked for
};

/** A region that is open for reading; it stays the same one, whatever becomes of its name. */
class Source {
public:
    Source(const Module& module, const Selector& region);

    [[nodiscard]] const struct stm_info& info() const { return info_; }
    /** Reads all of it into the sink. For `whole` see Snapshot. */
    [[nodiscard]] Reading read(const Call& call, Consistency consistency, Sink& sink,
                               Digested digested) const;

private:
    [[nodiscard]] Reading read_pieces(const Call& call, Sink& sink, Digested digested) const;
    void read_piece(char* to, std::uint64_t position, std::size_t size) const;

    Descriptor handle_;
    Selector region_;
    struct stm_info info_ {};
};

/**
 * Writes the region to standard output: its bytes, or an archive. When that is a file, blocks of
 * zeros become holes.
 */
void dump_region(const Call& call, const Source& source, Consistency consistency);
void archive_region(const Call& call, const Source& source, Consistency consistency);

/**
 * Writes standard input to the region from its beginning; what follows the input's end stays as it
 * is. Blocks that hold the right bytes already are not written, so zeros do not make untouched
 * pages occupy memory. Failure when the input is longer than the region: what fits has been
 * written.
 */
void load_region(const Module& module, const Selector& region);

/**
 * Makes the region that an archive on standard input is of, or fills the one of that name. `name`
 * is another name for it; empty: that of the archive. Nothing is changed unless the archive is
 * whole.
 */
void load_archive(const Call& call, const std::string& name);

/** Copies a region to a new one of the same kind, size and mode. */
void copy_region(const Call& call, const Module& module, const Source& source,
                 const std::string& to, Consistency consistency);

} // namespace stm::tools
