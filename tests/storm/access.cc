// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/access.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace stm::storm {

namespace {
constexpr int kLongestWait = 20;
constexpr unsigned kSharers = 3; // threads
constexpr std::size_t kPage = 4096;
} // namespace

Access::Access(const Self& self, const std::string& name, std::size_t size, Way way)
    : self_(self), name_(name), size_(size) {
    if (way == Way::typed) {
        region_ = stm_region_open(name.c_str(), 0, 0, 0);
        if (region_ == nullptr)
            give_up("stm_region_open");
        fd_ = stm_region_fd(region_);
        return;
    }
    fd_ = stm_open(name.c_str(), 0, 0, 0);
    if (fd_ < 0)
        give_up("stm_open");
    by_vectors_ = way == Way::vectors;
    if (way == Way::mapped) {
        if (self.random->one_in(2))
            make_warm();
        map(nullptr);
    }
}

Access::Access(const Self& self, const Access& other)
    : self_(self), name_(other.name_), size_(other.size_), owner_(false),
      by_vectors_(other.by_vectors_), fd_(other.fd_), region_(other.region_) {
}

Access::~Access() {
    if (base_ != nullptr)
        ::munmap(base_, size_);
    if (owner_ && region_ != nullptr)
        stm_region_close(region_);
    else if (owner_)
        ::close(fd_);
}

// Where it is transactional.
void Access::make_warm() {
    if (stm_set_warm(fd_, 1) == 0)
        self_.slot->warm.fetch_add(1);
    else if (errno != EOPNOTSUPP)
        give_up("stm_set_warm");
}

void Access::map(void* where) {
    void* memory = ::mmap(where, size_, PROT_READ | PROT_WRITE,
                          MAP_SHARED | (where != nullptr ? MAP_FIXED : 0), fd_, 0);
    if (memory == MAP_FAILED)
        give_up("mmap");
    base_ = static_cast<char*>(memory);
}

std::uint64_t Access::load(std::uint64_t offset) {
    cross();
    if (goes_by_vector()) {
        std::uint64_t loaded = 0;
        send(offset, &loaded);
        return loaded;
    }
    if (base_ != nullptr)
        return *reinterpret_cast<volatile std::uint64_t*>(base_ + offset);
    std::uint64_t value = 0;
    if (region_ != nullptr) {
        check(stm_tx_load(tx_, region_, offset, &value, sizeof value), "stm_tx_load");
        return value;
    }
    while (::pread(fd_, &value, sizeof value, static_cast<off_t>(offset)) != sizeof value)
        if (errno != EINTR)
            give_up("pread");
    return value;
}

void Access::store(std::uint64_t offset, std::uint64_t value) {
    cross();
    if (goes_by_vector()) {
        if (waiting_count_ == kMostWaiting)
            send();
        waiting_[waiting_count_++] = {offset, value};
        return;
    }
    if (base_ != nullptr) {
        *reinterpret_cast<volatile std::uint64_t*>(base_ + offset) = value;
        return;
    }
    if (region_ != nullptr)
        return check(stm_tx_store(tx_, region_, offset, &value, sizeof value), "stm_tx_store");
    while (::pwrite(fd_, &value, sizeof value, static_cast<off_t>(offset)) != sizeof value)
        if (errno != EINTR)
            give_up("pwrite");
}

void Access::begin_part() {
    if (region_ != nullptr) {
        check(stm_tx_nest(tx_), "stm_tx_nest");
        return;
    }
    send(); // what is stored before belongs to what is around the part
    stm_start(fd_);
}

void Access::undo_part() {
    if (region_ != nullptr)
        stm_tx_undo(tx_);
    else
        stm_cancel(fd_);
    waiting_count_ = 0;
}

unsigned Access::take_waiting(stm_piece* pieces) {
    for (unsigned index = 0; index < waiting_count_; ++index)
        pieces[index] =
            stm_write_piece(waiting_[index].offset, &waiting_[index].value, sizeof(std::uint64_t));
    return waiting_count_;
}

// Where the region has been mapped meanwhile, loads and stores go either way.
bool Access::goes_by_vector() {
    if (!by_vectors_)
        return false;
    if (base_ == nullptr || self_.random->one_in(2))
        return true;
    send();
    return false;
}

// What waits, and then a load.
void Access::send(std::uint64_t offset, std::uint64_t* load) {
    stm_piece pieces[kMostWaiting + 1];
    unsigned count = take_waiting(pieces);
    if (load != nullptr)
        pieces[count++] = stm_read_piece(offset, load, sizeof *load);
    if (count != 0 && stm_access(fd_, pieces, count) != 0) {
        if (errno != ENOMEM)
            give_up("stm_access");
        stm_retry(fd_); // memory comes and goes
    }
    waiting_count_ = 0;
}

bool Access::send_and_commit() {
    stm_piece pieces[kMostWaiting];
    const unsigned count = take_waiting(pieces);
    const int result = stm_access_and_commit(fd_, pieces, count);
    if (result < 0 && errno != ENOMEM)
        give_up("stm_access_and_commit");
    return result == 0;
}

void Access::begin_typed() {
    while ((tx_ = stm_tx_begin(region_, 0)) == nullptr)
        if (errno != EINTR && errno != ENOMEM)
            give_up("stm_tx_begin");
}

// Leaves the body if the transaction has no effect any more. Memory comes and goes.
void Access::check(int result, const char* what) const {
    if (result == 0)
        return;
    if (result < 0 && errno != ENOMEM)
        give_up(what);
    throw Left{};
}

void Access::carry_out() {
    if (wait_ == 0)
        wait_ = 1 + static_cast<int>(self_.random->below(kLongestWait));
    if (--wait_ > 0)
        return;
    // No restart here: libc's fork is not to be left in the middle, nor is a region half mapped.
    stm_defer_restarts();
    switch (self_.slot->order.exchange(Order::none)) {
    case Order::none:
        break;
    case Order::fork:
        fork_heir(self_, [this] {
            if (audit)
                audit(*this);
        });
        break;
    case Order::exec:
        become_new(self_);
    case Order::leave:
        ::_exit(kLeft);
    case Order::unmap:
        if (base_ != nullptr) {
            ::munmap(base_, size_);
            map(base_);
            self_.slot->unmaps.fetch_add(1);
        }
        break;
    case Order::advise:
        if (base_ != nullptr) {
            ::madvise(base_, size_, MADV_DONTNEED);
            self_.slot->advices.fetch_add(1);
        }
        break;
    case Order::close:
        close_duplicates();
        break;
    case Order::share:
        if (base_ == nullptr) // threads of a process that has mapped it need a handle each
            share();
        break;
    case Order::first:
        // A mapping anywhere leaves one thread of each process, and children may have more.
        if (base_ == nullptr && region_ == nullptr && !shared_) {
            send();
            map_second();
        }
        break;
    }
    stm_allow_restarts();
}

// The transaction is of the open file, not of a number that leads to it.
void Access::close_duplicates() const {
    const int one = ::dup(fd_);
    if (one >= 0)
        ::close(one);
    const int other = ::dup(fd_);
    std::FILE* const stream = other >= 0 ? ::fdopen(other, "r") : nullptr;
    if (stream != nullptr)
        std::fclose(stream);
    else if (other >= 0)
        ::close(other);
    self_.slot->closes.fetch_add(1);
}

// A child whose threads use the handle beside this process: new threads, which take over the
// contexts of those that are gone, and an end while this transaction runs.
void Access::share() {
    shared_ = true;
    fork_heir(self_, [this] {
        if (!audit)
            return;
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < kSharers; ++i)
            threads.emplace_back([this, i] {
                Slot nobody; // no orders, and what it does is not counted
                Random random(self_.board->seed + i);
                const Self self{self_.board, &nobody, self_.index, &random};
                Access access(self, *this);
                for (unsigned turn = 0; turn <= i; ++turn)
                    audit(access);
            });
        for (std::thread& thread : threads)
            thread.join();
        self_.slot->sharers.fetch_add(1);
    });
}

// The handle has not been mapped, by anybody. A child does that first and loads from it; then this
// process, and goes on in the mapping with the transaction that it began by calls.
void Access::map_second() {
    int ends[2];
    if (::pipe(ends) != 0)
        return;
    fork_heir(self_, [&] {
        map(nullptr);
        const volatile char* const bytes = base_;
        for (std::size_t at = 0; at < size_; at += kPage)
            static_cast<void>(bytes[at]);
        static_cast<void>(::write(ends[1], "", 1));
        if (audit)
            audit(*this);
    });
    ::close(ends[1]);
    char byte = 0;
    ssize_t got = 0;
    do
        got = ::read(ends[0], &byte, 1);
    while (got < 0 && errno == EINTR);
    ::close(ends[0]);
    map(nullptr);
    self_.slot->firsts.fetch_add(got == 1 ? 1 : 0);
}

const char* to_string(Way way) {
    switch (way) {
    case Way::calls:
        return "calls";
    case Way::mapped:
        return "mapped";
    case Way::typed:
        return "typed";
    case Way::vectors:
        return "vectors";
    }
    return "";
}

void Access::fail(const char* what, std::uint64_t found, std::uint64_t wanted) const {
    self_.board->fail("process %u, %s, %s: %s (%llu, %llu)", self_.index, name_.c_str(),
                      region_ != nullptr ? "typed"
                      : by_vectors_      ? "vectors"
                      : base_ != nullptr ? "mapped"
                                         : "calls",
                      what, static_cast<unsigned long long>(found),
                      static_cast<unsigned long long>(wanted));
}

void Access::give_up(const char* what) const {
    const int error = errno;
    self_.board->fail("process %u, %s: %s: %s", self_.index, name_.c_str(), what,
                      std::strerror(error));
    ::_exit(1);
}

void fork_heir(const Self& self, const std::function<void()>& heir) {
    const pid_t pid = ::fork();
    if (pid != 0) {
        if (pid > 0)
            self.slot->forks.fetch_add(1);
        return;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The signals of the parent's transactions are not the child's business.
    stm_allow_restarts();
    self.slot->busy.store(false);
    if (heir)
        heir();
    self.slot->heirs.fetch_add(1);
    ::_exit(0);
}

void become_new(const Self& self) {
    char index[16];
    std::snprintf(index, sizeof index, "%u", self.index);
    self.slot->execs.fetch_add(1);
    ::execl("/proc/self/exe", "storm", "--process", index, static_cast<char*>(nullptr));
    self.board->fail("process %u: exec: %s", self.index, std::strerror(errno));
    ::_exit(1);
}

} // namespace stm::storm
