// SPDX-License-Identifier: GPL-2.0
// Versions of stripes and one lock. It is made to be seen through, and not to be quick.
#include "fake_tx.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stm/stm.h>
#include <stm/tx.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

constexpr std::uint64_t kStripe = 64;

// What a region is, whoever has it attached. It is mapped twice, so that users can only read.
struct Memory {
    explicit Memory(std::size_t bytes)
        : size((bytes + 4095) / 4096 * 4096), fd(::memfd_create("fake", MFD_CLOEXEC)),
          versions(size / kStripe) {
        if (::ftruncate(fd, static_cast<off_t>(size)) != 0)
            std::abort();
        data = static_cast<char*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    }
    ~Memory() {
        ::munmap(data, size);
        ::close(fd);
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    std::size_t size;
    int fd;
    char* data;
    std::vector<std::uint64_t> versions;
};

std::mutex g_mutex; // protects all that follows, and what regions hold
std::condition_variable g_changed;
std::uint64_t g_clock = 0;
std::map<std::string, std::shared_ptr<Memory>> g_regions;
unsigned long g_sleeps = 0;
unsigned long g_commits = 0;
// Shared by those who commit; whoever has the serial token has it alone. It comes before g_mutex.
std::shared_mutex g_serial;

struct Injection {
    unsigned calls_left = 0;
    int error = 0; // 0: a conflict
    bool happened = false;
};
thread_local Injection t_injection;

enum class Injected { nothing, conflict, failure };

Injected injected() {
    if (t_injection.calls_left == 0 || --t_injection.calls_left != 0)
        return Injected::nothing;
    t_injection.happened = true;
    if (t_injection.error == 0)
        return Injected::conflict;
    errno = t_injection.error;
    return Injected::failure;
}

struct Line {
    std::array<char, kStripe> bytes{};
    std::uint64_t stored = 0; // a bit for each byte
};

} // namespace

struct stm_region {
    std::shared_ptr<Memory> memory;
    const void* committed;
    bool read_only;
};

namespace {

using Place = std::pair<Memory*, std::uint64_t>; // a stripe

struct Hash {
    std::size_t operator()(const Place& place) const {
        return std::hash<const void*>()(place.first) ^ place.second * 0x9e3779b97f4a7c15;
    }
};
using Lines = std::unordered_map<Place, Line, Hash>;

} // namespace

struct stm_tx {
    struct stm_tx_line line {}; // nothing is below its bound: each load is a call
    int flags = 0;
    std::uint64_t snapshot = 0;
    unsigned conflicts = 0;
    bool doomed = false;
    int error = 0; // of a load or a store; no commit after that
    std::unordered_map<Place, std::uint64_t, Hash> read;
    Lines written;
    std::vector<Lines> outer; // what was written when each part began
};

namespace {

thread_local stm_tx t_tx;
thread_local stm_tx* t_current = nullptr;

void renew(stm_tx& tx) {
    const std::lock_guard lock(g_mutex);
    tx.snapshot = g_clock;
    tx.doomed = false;
    tx.error = 0;
    tx.read.clear();
    tx.written.clear();
    tx.outer.clear();
}

bool is_valid(const stm_tx& tx) {
    return std::all_of(tx.read.begin(), tx.read.end(), [](const auto& one) {
        return one.first.first->versions[one.first.second] == one.second;
    });
}

int failure(stm_tx& tx, int error) {
    tx.error = error;
    errno = error;
    return -1;
}

int conflict(stm_tx& tx) {
    tx.doomed = true;
    return STM_TX_AGAIN;
}

// What comes before each load and store; 0: it may go on.
int may_access(stm_tx& tx, const stm_region& region, std::uint64_t offset, std::size_t bytes) {
    if (tx.doomed)
        return STM_TX_AGAIN;
    switch (injected()) {
    case Injected::conflict:
        return conflict(tx);
    case Injected::failure:
        return failure(tx, errno);
    case Injected::nothing:
        break;
    }
    if (offset > region.memory->size || bytes > region.memory->size - offset)
        return failure(tx, ERANGE);
    return 0;
}

// Calls f(stripe, first byte in it, number, bytes before) for each stripe of a range.
template <typename F>
void for_each_stripe(std::uint64_t offset, std::size_t bytes, F f) {
    for (std::size_t done = 0; done < bytes;) {
        const std::uint64_t at = offset + done;
        const std::size_t number = std::min<std::size_t>(kStripe - at % kStripe, bytes - done);
        f(at / kStripe, at % kStripe, number, done);
        done += number;
    }
}

bool has_written(const stm_tx& tx) {
    return !tx.written.empty();
}

int end(stm_tx& tx, int result) {
    if ((tx.flags & STM_TX_SERIAL) != 0)
        g_serial.unlock();
    renew(tx);
    t_current = nullptr;
    return result;
}

stm_region* attach(std::shared_ptr<Memory> memory, bool read_only) {
    const void* committed = ::mmap(nullptr, memory->size, PROT_READ, MAP_SHARED, memory->fd, 0);
    return new stm_region{std::move(memory), committed, read_only};
}

} // namespace

namespace stm::fake {

void conflict_at(unsigned call) {
    t_injection = {call, 0, false};
}
void fail_at(unsigned call, int error) {
    t_injection = {call, error, false};
}
bool has_happened() {
    return t_injection.happened;
}
unsigned long sleeps() {
    const std::lock_guard lock(g_mutex);
    return g_sleeps;
}
unsigned long commits() {
    const std::lock_guard lock(g_mutex);
    return g_commits;
}
void forget_all() {
    const std::lock_guard lock(g_mutex);
    g_regions.clear();
}

} // namespace stm::fake

extern "C" {

stm_region* stm_region_open(const char* name, size_t size, int flags, mode_t /*mode*/) {
    const std::lock_guard lock(g_mutex);
    auto found = g_regions.find(name);
    if (found == g_regions.end()) {
        if ((flags & STM_CREATE) == 0) {
            errno = ENOENT;
            return nullptr;
        }
        found = g_regions.emplace(name, std::make_shared<Memory>(size)).first;
    }
    return attach(found->second, (flags & STM_RDONLY) != 0);
}

stm_region* stm_region_attach(int fd) {
    const std::lock_guard lock(g_mutex);
    for (const auto& [name, memory] : g_regions)
        if (memory->fd == fd)
            return attach(memory, false);
    errno = EBADF;
    return nullptr;
}

void stm_region_close(stm_region* region) {
    ::munmap(const_cast<void*>(region->committed), region->memory->size);
    delete region;
}

size_t stm_region_size(const stm_region* region) {
    return region->memory->size;
}
int stm_region_fd(const stm_region* region) {
    return region->memory->fd;
}
const void* stm_region_committed(const stm_region* region) {
    return region->committed;
}

stm_tx* stm_tx_begin(stm_region* /*region*/, int flags) {
    if (t_current != nullptr) {
        errno = EBUSY;
        return nullptr;
    }
    if ((flags & STM_TX_SERIAL) != 0)
        g_serial.lock();
    renew(t_tx);
    t_tx.flags = flags;
    t_tx.conflicts = 0;
    return t_current = &t_tx;
}

int stm_tx_load(stm_tx* tx, stm_region* region, uint64_t offset, void* to, size_t bytes) {
    if (const int result = may_access(*tx, *region, offset, bytes))
        return result;
    const std::lock_guard lock(g_mutex);
    Memory& memory = *region->memory;
    bool extend = false;
    for_each_stripe(offset, bytes, [&](auto stripe, auto first, auto number, auto done) {
        const auto [seen, is_new] =
            tx->read.emplace(Place(&memory, stripe), memory.versions[stripe]);
        extend = extend || (is_new && seen->second > tx->snapshot);
        std::memcpy(static_cast<char*>(to) + done, memory.data + stripe * kStripe + first, number);
        if (const auto line = tx->written.find({&memory, stripe}); line != tx->written.end())
            for (std::size_t i = 0; i < number; ++i)
                if ((line->second.stored >> (first + i) & 1) != 0)
                    static_cast<char*>(to)[done + i] = line->second.bytes[first + i];
    });
    // Stripes that were read again may have changed, too.
    if (g_clock == tx->snapshot)
        return 0;
    if (!is_valid(*tx))
        return conflict(*tx);
    if (extend)
        tx->snapshot = g_clock;
    return 0;
}

int stm_tx_store(stm_tx* tx, stm_region* region, uint64_t offset, const void* from, size_t bytes) {
    if (const int result = may_access(*tx, *region, offset, bytes))
        return result;
    if (region->read_only || (tx->flags & STM_TX_READ_ONLY) != 0)
        return failure(*tx, EROFS);
    for_each_stripe(offset, bytes, [&](auto stripe, auto first, auto number, auto done) {
        Line& line = tx->written[{region->memory.get(), stripe}];
        std::memcpy(&line.bytes[first], static_cast<const char*>(from) + done, number);
        line.stored |= (number == kStripe ? ~0ULL : (1ULL << number) - 1) << first;
    });
    return 0;
}

int stm_tx_commit(stm_tx* tx) {
    Injected what = tx->doomed ? Injected::conflict : injected();
    if (what == Injected::failure || (tx->error != 0 && !tx->doomed)) {
        const int error = what == Injected::failure ? errno : tx->error;
        end(*tx, -1);
        errno = error;
        return -1;
    }
    {
        std::shared_lock serial(g_serial, std::defer_lock);
        if ((tx->flags & STM_TX_SERIAL) == 0)
            serial.lock();
        const std::lock_guard lock(g_mutex);
        if (what == Injected::nothing && has_written(*tx) && !is_valid(*tx))
            what = Injected::conflict;
        if (what == Injected::nothing) {
            if (has_written(*tx))
                ++g_clock;
            for (const auto& [place, line] : tx->written) {
                Memory& memory = *place.first;
                for (std::size_t i = 0; i < kStripe; ++i)
                    if ((line.stored >> i & 1) != 0)
                        memory.data[place.second * kStripe + i] = line.bytes[i];
                memory.versions[place.second] = g_clock;
            }
            ++g_commits;
            g_changed.notify_all();
        }
    }
    if (what == Injected::nothing)
        return end(*tx, 0);
    ++tx->conflicts;
    renew(*tx);
    return STM_TX_AGAIN;
}

void stm_tx_restart(stm_tx* tx) {
    renew(*tx);
}
void stm_tx_cancel(stm_tx* tx) {
    end(*tx, 0);
}

int stm_tx_wait(stm_tx* tx, int64_t timeout_ns) {
    if (!tx->doomed && tx->read.empty()) {
        end(*tx, -1);
        errno = EDEADLK;
        return -1;
    }
    bool changed = true;
    {
        std::unique_lock lock(g_mutex);
        const auto condition = [&] { return tx->doomed || !is_valid(*tx); };
        if (!condition())
            ++g_sleeps;
        if (timeout_ns < 0)
            g_changed.wait(lock, condition);
        else
            changed = g_changed.wait_for(lock, std::chrono::nanoseconds(timeout_ns), condition);
    }
    if (!changed) {
        end(*tx, -1);
        errno = ETIMEDOUT;
        return -1;
    }
    renew(*tx);
    return STM_TX_AGAIN;
}

int stm_tx_valid(stm_tx* tx) {
    const std::lock_guard lock(g_mutex);
    if (!tx->doomed && !is_valid(*tx))
        tx->doomed = true;
    return tx->doomed ? 0 : 1;
}

int stm_tx_nest(stm_tx* tx) {
    tx->outer.push_back(tx->written);
    return 0;
}
void stm_tx_merge(stm_tx* tx) {
    tx->outer.pop_back();
}
void stm_tx_undo(stm_tx* tx) {
    tx->written = std::move(tx->outer.back());
    tx->outer.pop_back();
}

stm_tx* stm_tx_current(void) {
    return t_current;
}
unsigned stm_tx_conflicts(const stm_tx* tx) {
    return tx->conflicts;
}
} // extern "C"
