// SPDX-License-Identifier: GPL-2.0
#include "actor.hpp"
#include "tests/guest/support/guest.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <grp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace stm::world {
namespace {

using test::kPage;

constexpr int kLongestMs = 60'000; // of an order
constexpr std::uintptr_t kArenas[kSides] = {0x2000'0000'0000, 0x3000'0000'0000};

struct Attached {
    char* start = nullptr;
    std::size_t bytes = 0; // mapped
    bool whole = true;     // no part was unmapped
    bool writable = false;
};

struct Self {
    const Channels& channels;
    int channel;
    Attached attached[kSides][kPlaces];
};

char* arena(Side side, std::uint32_t place) {
    return reinterpret_cast<char*>(kArenas[side] + place * kPlaceBytes);
}

std::size_t whole_pages(std::uint64_t bytes) {
    return (bytes + kPage - 1) / kPage * kPage;
}

std::uint64_t sum_of(const Attached& attached) {
    std::uint64_t sum = 1;
    if (!attached.whole)
        return sum;
    for (std::size_t at = 0; at < attached.bytes; at += sizeof(std::uint64_t)) {
        std::uint64_t word = 0;
        std::memcpy(&word, attached.start + at, sizeof word);
        sum = sum * 31 + word;
    }
    return sum;
}

void note(Outcome& outcome, long result) {
    outcome.facts.result = result < 0 ? -1 : 0;
    outcome.facts.error = result < 0 ? errno : 0;
}

void attach(Self& self, Side side, const Order& order, Outcome& outcome) {
    Attached& attached = self.attached[side][order.place];
    std::uintptr_t where = 0;
    int flags = order.flags;
    const auto place = reinterpret_cast<std::uintptr_t>(arena(side, order.place));
    switch (order.where) {
    case Where::anywhere:
        break;
    case Where::at_place:
        where = place;
        break;
    case Where::at_place_plus_one:
        where = place + 1;
        break;
    case Where::at_place_plus_one_rounded:
        where = place + 1;
        flags |= SHM_RND;
        break;
    case Where::replacing:
        where = place;
        flags |= SHM_REMAP;
        break;
    case Where::nowhere_replacing:
        flags |= SHM_REMAP;
        break;
    case Where::too_high:
        where = ~std::uintptr_t{0} / kPage * kPage;
        break;
    case Where::zero_rounded_replacing:
        where = 1;
        flags |= SHM_RND | SHM_REMAP;
        break;
    }
    void* result = shm_at(side, order.ids[side], reinterpret_cast<void*>(where), flags);
    const bool failed = result == reinterpret_cast<void*>(-1);
    note(outcome, failed ? -1 : 0);
    if (failed)
        return;
    if (order.where != Where::anywhere && result != arena(side, order.place)) {
        outcome.facts.result = 2;
        return;
    }
    // What was there before is forgotten. It stays attached unless it was replaced.
    attached = {static_cast<char*>(result), whole_pages(order.bytes), true,
                (flags & SHM_RDONLY) == 0};
    outcome.facts.contents = sum_of(attached);
}

void detach(Self& self, Side side, const Order& order, Outcome& outcome) {
    Attached& attached = self.attached[side][order.place];
    note(outcome,
         shm_dt(side, attached.start != nullptr ? attached.start : arena(side, order.place)));
    attached = {};
}

// Nothing else may come to lie where the page was: if that were another attach of the segment, and
// of the first page, a later detach by the address would be about that one.
void unmap(Self& self, Side side, const Order& order, Outcome& outcome) {
    Attached& attached = self.attached[side][order.place];
    if (attached.start == nullptr)
        return;
    const std::size_t offset = order.offset % (attached.bytes / kPage) * kPage;
    note(outcome, ::munmap(attached.start + offset, kPage));
    if (::mmap(attached.start + offset, kPage, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
        std::abort();
    attached.whole = false;
}

// Of an attach with all its pages: mremap moves one mapping.
void move(Self& self, Side side, const Order& order, Outcome& outcome) {
    Attached& attached = self.attached[side][order.place];
    Attached& other = self.attached[side][order.offset % kPlaces];
    if (attached.start == nullptr || !attached.whole || other.start != nullptr)
        return;
    void* result = ::mremap(attached.start, attached.bytes, attached.bytes,
                            MREMAP_MAYMOVE | MREMAP_FIXED, arena(side, order.offset % kPlaces));
    note(outcome, result == MAP_FAILED ? -1 : 0);
    if (result == MAP_FAILED)
        return;
    other = attached;
    other.start = static_cast<char*>(result);
    attached = {};
    outcome.facts.contents = sum_of(other);
}

void store(Self& self, Side side, const Order& order, Outcome& outcome) {
    const Attached& attached = self.attached[side][order.place];
    if (attached.start == nullptr || !attached.whole || !attached.writable)
        return;
    const std::size_t offset = order.offset % (attached.bytes / kPage) * kPage;
    std::memcpy(attached.start + offset, &order.value, sizeof order.value);
    outcome.facts.contents = sum_of(attached);
}

void tell(Side side, const Order& order, Outcome& outcome) {
    struct shmid_ds what {};
    note(outcome, shm_ctl(side, order.ids[side], IPC_STAT, &what));
    if (outcome.facts.error != 0)
        return;
    Facts& facts = outcome.facts;
    facts.key = what.shm_perm.__key;
    facts.uid = what.shm_perm.uid;
    facts.gid = what.shm_perm.gid;
    facts.cuid = what.shm_perm.cuid;
    facts.cgid = what.shm_perm.cgid;
    facts.mode = what.shm_perm.mode;
    facts.bytes = what.shm_segsz;
    facts.attaches = what.shm_nattch;
    facts.cpid = what.shm_cpid;
    facts.lpid = what.shm_lpid;
    facts.was_attached = what.shm_atime != 0;
    facts.was_detached = what.shm_dtime != 0;
    outcome.attached = what.shm_atime;
    outcome.detached = what.shm_dtime;
    outcome.changed = what.shm_ctime;
}

void set(Side side, const Order& order, Outcome& outcome) {
    struct shmid_ds what {};
    what.shm_perm.uid = order.uid;
    what.shm_perm.gid = order.gid;
    what.shm_perm.mode = static_cast<decltype(what.shm_perm.mode)>(order.mode);
    note(outcome, shm_ctl(side, order.ids[side], IPC_SET, &what));
}

// The sums, and what SHM_STAT tells by each index, as one number.
void tell_sums(Side side, Outcome& outcome) {
    struct shm_info sums {};
    const int highest = shm_ctl(side, 0, SHM_INFO, &sums);
    note(outcome, highest);
    outcome.facts.segments = static_cast<std::uint64_t>(sums.used_ids);
    outcome.facts.pages = sums.shm_tot;
    std::uint64_t found = 0, readable = 0;
    for (int index = 0; index <= highest; ++index) {
        struct shmid_ds what {};
        if (shm_ctl(side, index, SHM_STAT_ANY, &what) >= 0) {
            ++found;
            outcome.facts.contents += what.shm_segsz * (what.shm_nattch + 1) + what.shm_perm.mode;
        }
        readable += shm_ctl(side, index, SHM_STAT, &what) >= 0 ? 1 : 0;
    }
    outcome.facts.attaches = found << 32 | readable;
}

// A grandchild takes over the other channel. Its parent ends at once, so it is the test's to wait
// for.
pid_t fork_actor(const Self& self, int channel) {
    int report[2];
    if (::pipe(report) < 0)
        std::abort();
    const pid_t between = ::fork();
    if (between == 0) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::close(report[0]);
            ::close(report[1]);
            act(self.channels, channel);
        }
        (void)!::write(report[1], &child, sizeof child);
        ::_exit(0);
    }
    ::close(report[1]);
    pid_t child = -1;
    if (between < 0 || ::read(report[0], &child, sizeof child) != sizeof child)
        child = -1;
    ::close(report[0]);
    int status = 0;
    ::waitpid(between, &status, 0);
    return child;
}

void become(const Order& order, Outcome& outcome) {
    const gid_t groups[1] = {order.mode};
    note(outcome, ::setgroups(1, groups) < 0 || ::setresgid(order.gid, order.gid, order.gid) < 0 ||
                          ::setresuid(order.uid, order.uid, order.uid) < 0
                      ? -1
                      : 0);
}

// Each side of an order; what is done once is done with the first.
void obey(Self& self, Side side, const Order& order, Outcome& outcome) {
    switch (order.act) {
    case Act::get:
        outcome.id = shm_get(side, order.key, order.bytes, order.flags);
        note(outcome, outcome.id);
        break;
    case Act::attach:
        attach(self, side, order, outcome);
        break;
    case Act::detach:
        detach(self, side, order, outcome);
        break;
    case Act::detach_wrong:
        note(outcome, shm_dt(side, arena(side, order.place) + (order.offset % 2 == 0 ? 8 : kPage)));
        break;
    case Act::unmap:
        unmap(self, side, order, outcome);
        break;
    case Act::move:
        move(self, side, order, outcome);
        break;
    case Act::store:
        store(self, side, order, outcome);
        break;
    case Act::stat:
        tell(side, order, outcome);
        break;
    case Act::set:
        set(side, order, outcome);
        break;
    case Act::remove:
        note(outcome, shm_ctl(side, order.ids[side], IPC_RMID, nullptr));
        break;
    case Act::lock:
        note(outcome, shm_ctl(side, order.ids[side], SHM_LOCK, nullptr));
        break;
    case Act::unlock:
        note(outcome, shm_ctl(side, order.ids[side], SHM_UNLOCK, nullptr));
        break;
    case Act::info:
        tell_sums(side, outcome);
        break;
    default:
        break;
    }
}

} // namespace

Channels::Channels() {
    for (auto& pair : ends_)
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair.data()) < 0)
            std::abort();
}

Channels::~Channels() {
    for (const auto& pair : ends_)
        for (const int end : pair)
            ::close(end);
}

bool Channels::order(int channel, const Order& order, Report& report) const {
    if (::write(ends_[channel][0], &order, sizeof order) != sizeof order)
        return false;
    // Others have its end of the channel, too, so the death of an actor closes nothing.
    pollfd answer{ends_[channel][0], POLLIN, 0};
    if (::poll(&answer, 1, static_cast<int>(kLongestMs * test::time_scale())) <= 0)
        return false;
    // A program that an actor has become says no more than that it runs.
    return ::read(ends_[channel][0], &report, sizeof report) > 0;
}

void Channels::tell(int channel, const Order& order) const {
    (void)!::write(ends_[channel][0], &order, sizeof order);
}

void act(const Channels& channels, int channel) {
    static Self self{channels, channel, {}};
    self.channel = channel;
    const int end = channels.actor_end(channel);
    for (;;) {
        Order order{};
        if (::read(end, &order, sizeof order) != sizeof order || order.act == Act::leave)
            ::_exit(0);
        Report report{};
        if (order.act == Act::fork) {
            report.pid = fork_actor(self, static_cast<int>(order.value));
        } else if (order.act == Act::become) {
            become(order, report.of[kKernel]);
        } else if (order.act == Act::exec) {
            // The program keeps the channel. It says that it runs, and ends when it is told
            // anything.
            ::dup2(end, STDIN_FILENO);
            ::execl("/bin/sh", "sh", "-c", "echo >&0; exec head -c 1 >/dev/null", nullptr);
            ::_exit(1);
        } else {
            for (const Side side : {kKernel, kRegions})
                obey(self, side, order, report.of[side]);
        }
        (void)!::write(end, &report, sizeof report);
    }
}

std::string text_of(const Order& order) {
    static constexpr const char* kNames[] = {
        "get",    "attach", "detach", "detach_wrong", "unmap", "move",   "store", "stat", "set",
        "remove", "lock",   "unlock", "info",         "fork",  "become", "exec",  "leave"};
    char text[256];
    std::snprintf(
        text, sizeof text,
        "%s ids %d/%d key %#x flags %#o bytes %llu where %u place %u offset %u uid %u gid "
        "%u mode %#o",
        kNames[static_cast<std::size_t>(order.act)], order.ids[0], order.ids[1],
        static_cast<unsigned>(order.key), static_cast<unsigned>(order.flags),
        static_cast<unsigned long long>(order.bytes), static_cast<unsigned>(order.where),
        order.place, order.offset, order.uid, order.gid, order.mode);
    return text;
}

std::string text_of(const Facts& facts) {
    char text[512];
    std::snprintf(
        text, sizeof text,
        "result %d (%s) key %#x uid %u gid %u cuid %u cgid %u mode %#o bytes %llu attaches "
        "%#llx cpid %d lpid %d contents %#llx segments %llu pages %llu times %u %u",
        facts.result, facts.error == 0 ? "-" : ::strerrorname_np(facts.error),
        static_cast<unsigned>(facts.key), facts.uid, facts.gid, facts.cuid, facts.cgid, facts.mode,
        static_cast<unsigned long long>(facts.bytes),
        static_cast<unsigned long long>(facts.attaches), facts.cpid, facts.lpid,
        static_cast<unsigned long long>(facts.contents),
        static_cast<unsigned long long>(facts.segments),
        static_cast<unsigned long long>(facts.pages), facts.was_attached, facts.was_detached);
    return text;
}

} // namespace stm::world
