// SPDX-License-Identifier: GPL-2.0
// What the fuzz target of the core acts on: a loaded module, four threads of three processes, the
// files that they have open, and what is known of the regions behind those.
//
// The steps are functions of a World (steps.hpp). Each does one thing to the module, as an actor,
// and to what is known here.
#pragma once

#include "tests/fuzz/history.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/unit/kernel/simulated_linux.hpp"

#include <stm/ioctl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

namespace stm::fuzz {

inline constexpr std::size_t kPage = STM_PAGE_BYTES;
inline constexpr std::size_t kNobody = ~std::size_t{0};
inline constexpr std::size_t kActors = 4;
inline constexpr std::size_t kProcesses = 3;

struct Actor {
    std::size_t process = 0;
    std::unique_ptr<simulated::OtherThread> thread = std::make_unique<simulated::OtherThread>();
    int calls = 0; // in progress
};

struct Mapping {
    std::size_t process;
    std::size_t first;
    std::size_t pages;
    bool writable;
};

struct Region {
    std::uint64_t id;
    bool plain;
    std::uint64_t size; // 0: not settled
    std::optional<History> history;
};

struct Transaction {
    std::optional<Observer> seen; // none: the region is too large for the model
    std::size_t depth = 1;        // nested parts and itself
    std::vector<bool> touched;    // pages that it has of its own
    bool has_no_view = false;     // and gets none any more
};

// A transaction that the program runs by itself.
struct Typed {
    std::optional<Observer> seen;
    std::uint64_t snapshot = 0;
    std::vector<std::uint64_t> reads; // STM_READ_RUN()
};

struct File {
    stm_handle* handle = nullptr;
    int descriptor = -1; // -1: of a device node
    std::uint64_t region = 0;
    unsigned access = 0;
    int calls = 0; // in progress
    bool released = false;
    std::vector<Mapping> mappings;
    bool was_mapped = false;
    std::array<std::unique_ptr<Transaction>, kActors> transactions;
    std::array<std::unique_ptr<Typed>, kActors> typed;
    std::array<std::size_t, kProcesses> viewers; // whose transaction has the view
};

class World {
public:
    World();
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    // -- The actor that calls --

    std::size_t process() const { return actors[who].process; }
    // A service has failed in the call, because the step said so.
    bool failed() const;
    // An error that is documented for the call, or that any call may give.
    bool expected(long result, std::initializer_list<int> documented) const;
    long control(const File& file, unsigned request, std::uint64_t argument) const;
    // With a structure: the size that the caller gives varies, and behind it is nothing.
    template <typename Argument>
    long control(const Step& step, const File& file, unsigned request, Argument& argument) const;

    // -- Files and regions --

    Region* region(std::uint64_t id);
    Region& region_of(std::size_t place) { return *region(files[place]->region); }
    stm_info info_of(const File& file) const;
    void settle(Region& region, std::uint64_t size);
    void look_at_size(std::size_t place);
    void add(stm_handle* handle, int descriptor, unsigned access);
    bool has_room() const;
    long open_minor(unsigned minor, unsigned access, std::size_t node);
    void close(std::size_t place);
    // The n-th file that is open, or kNobody.
    std::size_t pick(std::size_t number) const;
    // The id of a region, or one that was never given.
    std::uint64_t id_of(const Step& step) const;

    // -- Transactions --

    Transaction* transaction(const File& file) const { return file.transactions[who].get(); }
    stm_transaction tell_transaction(const File& file) const;
    // The error for which everything fails in the caller's transaction, or 0.
    long failure_of(const File& file) const;
    // A call in the middle of the caller's transaction fails it, unless it is its own buffer that
    // ended, or another commit that was there.
    void expect_failure(const File& file, long result, long before) const;
    void forget(File& file, std::size_t actor);
    // The actor's thread has ended, or called exec.
    void orphan(std::size_t actor);
    // The caller's transaction is over, but still there, and has no mapping any more.
    void give_up_view(File& file);
    // The last descriptor that the caller's process has of the file is closed.
    void lose(File& file);

    // -- Contents --

    // Whether a write call by itself, or a commit of given sets, is in the middle of its work
    // there: when it takes effect is not known, so what others see is not compared.
    bool in_between(const Region& region);
    // What is committed, as a new handle sees it; nothing if there can be none.
    std::optional<Bytes> contents(const Region& region);
    Bytes contents_or(const Region& region, const Bytes& otherwise) {
        return contents(region).value_or(otherwise);
    }
    // What the region's transactions see is not compared any more.
    void forget_model(const Region& region);

    // Sums of what is there, and the contents of all regions.
    void check_books();

    stm_settings settings;
    std::array<simulated::Node, 2> nodes{simulated::Node(0, 0, 0666),
                                         simulated::Node(1000, 1000, 0640)};
    std::array<std::unique_ptr<simulated::Process>, kProcesses> processes;
    std::array<Actor, kActors> actors;
    simulated::OtherThread auditor;
    std::vector<std::unique_ptr<simulated::OtherThread>> finished;
    std::vector<std::unique_ptr<File>> files;
    std::vector<std::unique_ptr<Region>> regions;
    std::size_t who = 0;
    const simulated::FailPoint* fail = nullptr;
    std::uint64_t writing = ~std::uint64_t{0}; // the region of a write call by itself
    std::vector<std::uint64_t> committing;     // regions of commits of given sets
    bool guessed = false;                      // by others, meanwhile
    bool disturbed = false;                    // another call was in the middle of this one
    unsigned value = 0;                        // written last

private:
    void check_named_regions(std::uint64_t& bytes, std::uint32_t& count);
    void check_named_region(const stm_info& info);
    std::uint64_t unlinked_bytes() const;
};

// Of a transaction or a call by itself: EAGAIN means that another commit was there.
void expect_reason(long result, const Observer& seen);

template <typename Argument>
long World::control(const Step& step, const File& file, unsigned request,
                    Argument& argument) const {
    std::size_t given = sizeof(argument);
    if (step.flags >> 5 == 1)
        given += 1 + step.small % 64;
    else if (step.flags >> 5 == 2)
        given = step.small % (2 * kPage);
    std::vector<std::uint8_t> memory(std::max<std::size_t>(given, sizeof(std::uint32_t)));
    argument.size = static_cast<std::uint32_t>(given);
    std::memcpy(memory.data(), &argument, std::min(memory.size(), sizeof(argument)));
    if (step.flags >> 5 == 1 && step.small % 2 == 0)
        memory.back() = 1;
    const long result = control(file, request, reinterpret_cast<std::uint64_t>(memory.data()));
    std::size_t first_version = sizeof(argument);
    if constexpr (std::is_same_v<Argument, stm_statistics>)
        first_version = offsetof(stm_statistics, load_faults);
    if constexpr (std::is_same_v<Argument, stm_info>)
        first_version = offsetof(stm_info, segment_bytes);
    if (given < first_version)
        STM_FUZZ_EXPECT(result < 0);
    else if (given >= sizeof(argument))
        std::memcpy(&argument, memory.data(), sizeof(argument));
    return result;
}

} // namespace stm::fuzz
