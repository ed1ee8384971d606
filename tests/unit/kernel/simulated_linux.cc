// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated_linux.hpp"

#include "runtime/support/host.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <thread>
#include <utility>

using stm::simulated::Failure;

// -- What the core sees only as pointers --

struct stm_process {
    std::atomic<long> references{1}; // the process itself
    std::atomic<bool> gone{false};
    int pid = 0;
    char command[16] = {};
    stm_memory* memory = nullptr;
};

// An address space.
struct stm_memory {
    std::atomic<long> references{1}; // the process
    std::atomic<bool> ended{false};  // the process has
    std::shared_mutex mmap_lock;
};

struct stm_view {
    stm_identity* identity = nullptr;
    mutable std::mutex lock; // i_mmap_rwsem
    std::map<std::uint64_t, stm_mapping> mappings;
    std::uint64_t next_mapping = 0;
    // The page tables of transactional mappings. Each entry has a reference.
    struct Entry {
        stm_page* page = nullptr;
        bool writable = false;
        __u8 touched = 0;
    };
    std::map<std::pair<const stm_memory*, std::uint64_t>, Entry> pages;
};

struct stm_thread {
    std::atomic<long> references{1}; // the thread itself
    std::atomic<bool> ended{false};
    std::atomic<std::uint64_t> exec_id{1};
    std::atomic<const stm_memory*> memory{nullptr}; // which it had when it last asked for it
    int id = 0;
    std::mutex lock;
    std::vector<int> signals;
};

struct stm_node {
    std::uint32_t uid;
    std::uint32_t gid;
    std::uint32_t mode;
};

struct stm_identity {
    std::atomic<long> references{1};
    std::atomic<std::uint32_t> uid{0};
    std::atomic<std::uint32_t> gid{0};
    std::atomic<std::uint32_t> mode{0};
    std::atomic<std::uint64_t> size{0};
    std::atomic<long> pages{0};
    std::atomic<long> views{0};
};

struct stm_page {
    alignas(4096) std::uint8_t bytes[4096] = {};
    std::atomic<long> references{1};
    stm_identity* identity = nullptr;
    std::uint64_t index = 0;
};

struct stm_pin {
    std::uint64_t address;
};

struct stm_file {
    stm_handle* handle;
    stm_identity* identity;
    std::string name;
    unsigned int access;
    bool has_descriptor = false;
};

struct stm_user_buffer {
    std::uint8_t* memory;
    std::size_t bytes;
    std::size_t done;
    std::size_t fault_at;
};

namespace stm::simulated {

namespace {

// Far more than any test needs.
constexpr std::size_t kLargestAllocation = std::size_t{64} << 20;
constexpr int kMmapLockRank = -1;

constexpr auto kRelaxed = std::memory_order_relaxed;

void abort_on_violation(const std::string& what) {
    std::fprintf(stderr, "simulated Linux: %s\n", what.c_str());
    std::abort();
}

std::atomic<ViolationHandler> violation_handler{abort_on_violation};

void violated(const std::string& what) {
    violation_handler.load()(what);
}

void expect(bool condition, const char* what) {
    if (!condition) [[unlikely]]
        violated(what);
}

struct Counters {
    std::atomic<long> allocations{0};
    std::atomic<long> pages{0};
    std::atomic<long> identities{0};
    std::atomic<long> views{0};
    std::atomic<long> process_references{0};
    std::atomic<long> thread_references{0};
    std::atomic<long> memory_references{0};
    std::atomic<long> pins{0};
    std::atomic<long> files{0};
    std::atomic<long> descriptors{0};
    std::atomic<long> locks{0};
} counters;

std::atomic<std::uint64_t> all_pages{0};
std::atomic<std::uint64_t> realtime{1'700'000'000'000'000'000};
std::atomic<std::uint64_t> entropy{0x9E3779B97F4A7C15};

struct Held {
    const void* lock;
    int rank;
};

// What the calling thread is about to do, and what it holds.
struct Thread {
    Process* caller = nullptr;
    std::vector<Held> held;
    int undisturbed = 0;
    int atomic_context = 0;

    std::size_t points = 0;
    std::size_t failing_point = 0; // 0: none, they are counted from 1
    Failure failed = Failure::none;

    std::size_t steps = 0;
    std::size_t interleaved_step = 0;
    std::function<void()> action;
    bool interleaved = false;
    std::size_t engine_steps = 0; // to the action, 0: there is none
    std::function<void()> engine_action;

    int dying = 0;
    int mappings_moved = 0;
    stm_view* closed = nullptr; // holds its mmap_lock for writing, and the locks of its mappings

    stm_thread* acts_as = nullptr;
    bool sleepless = false;
    int naps = 0;            // of the Sleepless that lives
    std::uint64_t slept = 0; // nanoseconds, by all of them

    std::uint64_t read_only_from = 0;
    std::uint64_t read_only_bytes = 0;
    int unpinnable = 0;

    bool holds_lock_but(std::initializer_list<int> allowed) const {
        return std::any_of(held.begin(), held.end(), [&](const Held& one) {
            return one.rank != kMmapLockRank &&
                   std::find(allowed.begin(), allowed.end(), one.rank) == allowed.end();
        });
    }
    bool holds_core_lock() const {
        return std::any_of(held.begin(), held.end(),
                           [](const Held& one) { return one.rank != kMmapLockRank; });
    }
};
thread_local Thread thread;
std::atomic<int> all_sleepers{0};

// What a service demands of its caller.
enum class Context {
    any,          // also where nothing may sleep
    may_sleep,    // locks may be held
    may_release,  // only mmap_lock, CONTEXTS and CONTEXT
    may_allocate, // only mmap_lock, and CONTEXT: a transaction grows under its own lock
    no_core_lock, // none of the core's; mmap_lock may be
    no_lock,      // user memory: its own fault may take any of them
};

class Service {
public:
    explicit Service(const char* name, Context context, Failure failure = Failure::none)
        : failure_(failure) {
        if (thread.atomic_context != 0 && context != Context::any)
            violated(std::string(name) + " was called where nothing may sleep");
        if (context == Context::may_release &&
            thread.holds_lock_but({STM_RANK_CONTEXTS, STM_RANK_CONTEXT}))
            violated(std::string(name) + " was called with a lock held that forbids it");
        if (context == Context::may_allocate && thread.holds_lock_but({STM_RANK_CONTEXT}))
            violated(std::string(name) + " was called with a lock held that forbids it");
        if (context == Context::no_core_lock && thread.holds_core_lock())
            violated(std::string(name) + " was called with a lock of the core held");
        if (context == Context::no_lock && !thread.held.empty())
            violated(std::string(name) + " was called with a lock held");
        if (thread.undisturbed != 0 || thread.interleaved_step == 0 || !thread.held.empty() ||
            thread.atomic_context != 0)
            return;
        if (++thread.steps == thread.interleaved_step) {
            thread.interleaved = true;
            const Undisturbed quiet;
            thread.action();
        }
    }

    // Whether this call is the one that fails.
    bool fails() const {
        if (thread.undisturbed != 0 || thread.failing_point == 0)
            return false;
        if (++thread.points != thread.failing_point)
            return false;
        thread.failed = failure_;
        return true;
    }

private:
    Failure failure_;
};

void acquired(const void* lock, int rank) {
    for (const Held& one : thread.held) {
        if (one.rank >= rank)
            violated("lock of rank " + std::to_string(rank) + " taken while one of rank " +
                     std::to_string(one.rank) + " is held");
    }
    thread.held.push_back({lock, rank});
}

void before_acquiring(const void* lock) {
    const auto same = [&](const Held& one) { return one.lock == lock; };
    if (std::any_of(thread.held.begin(), thread.held.end(), same))
        abort_on_violation("a thread waits for a lock that it holds");
}

void released(const void* lock) {
    const auto same = [&](const Held& one) { return one.lock == lock; };
    const auto place = std::find_if(thread.held.begin(), thread.held.end(), same);
    if (place == thread.held.end())
        violated("a lock was unlocked by a thread that does not hold it");
    else
        thread.held.erase(place);
}

template <typename Lock>
struct Ranked {
    Lock lock;
    int rank;
};
using Mutex = Ranked<std::mutex>;
using SharedMutex = Ranked<std::shared_mutex>;
static_assert(sizeof(Mutex) <= sizeof(stm_mutex) &&
              sizeof(SharedMutex) <= sizeof(stm_shared_mutex));

Mutex& of(stm_mutex* mutex) {
    return *std::launder(reinterpret_cast<Mutex*>(mutex->words));
}
SharedMutex& of(stm_shared_mutex* mutex) {
    return *std::launder(reinterpret_cast<SharedMutex*>(mutex->words));
}

bool mapped(std::uint64_t address, std::size_t bytes) {
    return address >= kLowestAddress && address + bytes >= address;
}

bool writable(std::uint64_t address, std::size_t bytes) {
    if (!mapped(address, bytes))
        return false;
    return thread.read_only_bytes == 0 || address + bytes <= thread.read_only_from ||
           address >= thread.read_only_from + thread.read_only_bytes;
}

struct Descriptor {
    bool used = false;
    bool close_on_exec = false;
    stm_file* file = nullptr;
};
std::mutex descriptor_lock;
std::vector<Descriptor> descriptors;
std::size_t descriptor_limit = 1024;

void get(stm_identity* identity) {
    expect(identity->references.fetch_add(1) > 0, "an identity is referenced after its end");
}

void put(stm_identity* identity) {
    if (identity->references.fetch_sub(1) != 1)
        return;
    expect(identity->pages.load() == 0, "an identity ends before its pages");
    expect(identity->views.load() == 0, "an identity ends before its views");
    counters.identities.fetch_sub(1, kRelaxed);
    delete identity;
}

void put(stm_process* process) {
    const long before = process->references.fetch_sub(1);
    expect(before > 0, "a process is given back once too often");
    if (before == 1)
        delete process;
}

// The identity of the calling thread for the core. It ends with the thread.
class ThreadIdentity {
public:
    ThreadIdentity() : thread_(new stm_thread) {
        static std::atomic<int> next{10'000};
        thread_->id = next.fetch_add(1, kRelaxed);
    }
    ~ThreadIdentity() {
        thread_->ended.store(true, std::memory_order_release);
        put(thread_);
    }
    stm_thread* get() const { return thread_; }

    static void put(stm_thread* one) {
        const long before = one->references.fetch_sub(1);
        expect(before > 0, "a thread is given back once too often");
        if (before == 1)
            delete one;
    }

private:
    stm_thread* thread_;
};
stm_thread* current_thread() {
    if (thread.acts_as != nullptr)
        return thread.acts_as;
    static thread_local ThreadIdentity identity;
    return identity.get();
}

struct WaitQueue {
    std::mutex lock;
    std::condition_variable changed;
    std::atomic<int> waiting;
};
static_assert(sizeof(WaitQueue) <= sizeof(stm_wait_queue));
WaitQueue& of(stm_wait_queue* queue) {
    return *std::launder(reinterpret_cast<WaitQueue*>(queue->words));
}

struct Timer {
    void (*call)(void* context);
    void* context;
    bool armed;
    bool running;
};
static_assert(sizeof(Timer) <= sizeof(stm_timer));
Timer& of(stm_timer* timer) {
    return *std::launder(reinterpret_cast<Timer*>(timer->words));
}
std::mutex timer_lock;
std::condition_variable timer_ran;
std::vector<Timer*> armed_timers;

void put(stm_memory* memory) {
    const long before = memory->references.fetch_sub(1);
    expect(before > 0, "an address space is given back once too often");
    if (before == 1)
        delete memory;
}

void put(stm_page* page) {
    const long before = page->references.fetch_sub(1);
    expect(before > 0, "a page is given back once too often");
    if (before != 1)
        return;
    expect(page->identity == nullptr, "a page is freed while it has an identity");
    counters.pages.fetch_sub(1, kRelaxed);
    std::memset(page->bytes, kFreedByte, sizeof(page->bytes));
    delete page;
}

void forget_file(stm_file* file) {
    stm_core_release(file->handle);
    put(file->identity);
    counters.files.fetch_sub(1, kRelaxed);
    delete file;
}

} // namespace

// For the services below, which are no members of a class.
struct Caller {
    static Process& process() { return thread.caller ? *thread.caller : init_process(); }
    static stm_process* reference() { return process().process_; }
    static const Credential& credential() { return process().credential; }
};

void set_violation_handler(ViolationHandler handler) {
    violation_handler = handler;
}

Live live() {
    Live now;
    now.allocations = counters.allocations.load(kRelaxed);
    now.pages = counters.pages.load(kRelaxed);
    now.identities = counters.identities.load(kRelaxed);
    now.views = counters.views.load(kRelaxed);
    now.process_references = counters.process_references.load(kRelaxed);
    now.memory_references = counters.memory_references.load(kRelaxed);
    now.thread_references = counters.thread_references.load(kRelaxed);
    now.pins = counters.pins.load(kRelaxed);
    now.files = counters.files.load(kRelaxed);
    now.descriptors = counters.descriptors.load(kRelaxed);
    now.locks = counters.locks.load(kRelaxed);
    now.held_locks = static_cast<long>(thread.held.size());
    return now;
}

std::string describe(const Live& live) {
    return "allocations " + std::to_string(live.allocations) + ", pages " +
           std::to_string(live.pages) + ", identities " + std::to_string(live.identities) +
           ", views " + std::to_string(live.views) + ", process references " +
           std::to_string(live.process_references) + ", thread references " +
           std::to_string(live.thread_references) + ", pins " + std::to_string(live.pins) +
           ", files " + std::to_string(live.files) + ", descriptors " +
           std::to_string(live.descriptors) + ", locks " + std::to_string(live.locks) + ", held " +
           std::to_string(live.held_locks);
}

int errno_of(Failure failure) {
    switch (failure) {
    case Failure::allocation:
    case Failure::identity:
    case Failure::pin:
        return -ENOMEM;
    case Failure::file:
        return -ENFILE;
    case Failure::descriptor:
        return -EMFILE;
    case Failure::lock:
    case Failure::wait:
        return -EINTR;
    case Failure::permission:
        return -EACCES;
    case Failure::copy:
    case Failure::buffer:
        return -EFAULT;
    case Failure::none:
        break;
    }
    return 0;
}

FailPoint::FailPoint(std::size_t nth) {
    thread.points = 0;
    thread.failing_point = nth;
    thread.failed = Failure::none;
}
FailPoint::~FailPoint() {
    thread.failing_point = 0;
}
Failure FailPoint::happened() const {
    return thread.failed;
}

Interleave::Interleave(std::size_t nth, std::function<void()> action) {
    thread.steps = 0;
    thread.interleaved_step = nth;
    thread.action = std::move(action);
    thread.interleaved = false;
}
Interleave::~Interleave() {
    thread.interleaved_step = 0;
    thread.action = nullptr;
}
bool Interleave::happened() const {
    return thread.interleaved;
}

InterleaveCommit::InterleaveCommit(std::size_t nth, std::function<void()> action) {
    thread.engine_steps = nth;
    thread.engine_action = std::move(action);
}
InterleaveCommit::~InterleaveCommit() {
    thread.engine_steps = 0;
    thread.engine_action = nullptr;
}

Undisturbed::Undisturbed() {
    ++thread.undisturbed;
}
Undisturbed::~Undisturbed() {
    --thread.undisturbed;
}

Process::Process(int pid, Credential who, const char* command, std::uint32_t mask)
    : credential(who), umask(mask), pid_(pid), process_(new stm_process) {
    process_->pid = pid;
    process_->memory = new stm_memory;
    std::strncpy(process_->command, command, sizeof(process_->command) - 1);
}
Process::~Process() {
    exit();
    process_->memory->ended = true;
    put(std::exchange(process_->memory, nullptr));
    put(process_);
}
void Process::exit() {
    process_->gone = true;
}

Process& init_process() {
    static Process init(1, kRoot, "init");
    return init;
}

OtherThread::OtherThread() : thread_(new stm_thread) {
    static std::atomic<int> next{1'000'000};
    thread_->id = next.fetch_add(1, kRelaxed);
}
OtherThread::~OtherThread() {
    end();
    ThreadIdentity::put(thread_);
}
void OtherThread::end() {
    thread_->ended.store(true, std::memory_order_release);
}

AsThread::AsThread(OtherThread& one) : before_(std::exchange(thread.acts_as, one.thread_)) {
}
AsThread::~AsThread() {
    thread.acts_as = before_;
}

int sleepers() {
    return all_sleepers.load();
}

Sleepless::Sleepless() {
    thread.sleepless = true;
    thread.naps = 0;
}
Sleepless::~Sleepless() {
    thread.sleepless = false;
}

As::As(Process& process) : before_(std::exchange(thread.caller, &process)) {
}
As::~As() {
    thread.caller = before_;
}

void exec() {
    current_thread()->exec_id.fetch_add(1, kRelaxed);
}
std::vector<int> take_signals() {
    stm_thread* self = current_thread();
    const std::lock_guard held(self->lock);
    return std::exchange(self->signals, {});
}

Dying::Dying() {
    ++thread.dying;
}
Dying::~Dying() {
    --thread.dying;
}

std::size_t run_timers() {
    std::size_t ran = 0;
    std::unique_lock held(timer_lock);
    for (std::size_t left = armed_timers.size(); left != 0 && !armed_timers.empty(); --left) {
        Timer* timer = armed_timers.front();
        armed_timers.erase(armed_timers.begin());
        timer->armed = false;
        timer->running = true;
        held.unlock();
        timer->call(timer->context);
        held.lock();
        timer->running = false;
        ++ran;
        timer_ran.notify_all();
    }
    return ran;
}

Node::Node(std::uint32_t uid, std::uint32_t gid, std::uint32_t mode)
    : node_(new stm_node{uid, gid, mode}) {
}
Node::~Node() {
    delete node_;
}

stm_memory* current_memory() {
    return Caller::reference()->memory;
}

MmapLock::MmapLock() {
    stm_memory* memory = current_memory();
    before_acquiring(memory);
    memory->mmap_lock.lock_shared();
    acquired(memory, kMmapLockRank);
}
MmapLock::~MmapLock() {
    released(current_memory());
    current_memory()->mmap_lock.unlock_shared();
}

PageState page_state(const stm_page* page) {
    return {page->identity, page->index};
}
std::uint8_t* page_bytes(stm_page* page) {
    return page->bytes;
}
std::uint64_t pages_allocated() {
    return all_pages.load(kRelaxed);
}

stm_identity* identity_of(const stm_view* view) {
    return view->identity;
}
void change_mode(stm_identity* identity, std::uint32_t mode) {
    identity->mode = mode;
}
void change_owner(stm_identity* identity, std::uint32_t uid, std::uint32_t gid) {
    identity->uid = uid;
    identity->gid = gid;
}
std::uint64_t identity_size(const stm_identity* identity) {
    return identity->size.load();
}

Mapped::Mapped(stm_view* view, const stm_mapping& mapping) : view_(view) {
    const std::lock_guard held(view->lock);
    key_ = view->next_mapping++;
    view->mappings.emplace(key_, mapping);
}
Mapped::~Mapped() {
    const std::lock_guard held(view_->lock);
    view_->mappings.erase(key_);
}

stm_page* mapped_page(stm_view* view, std::uint64_t index) {
    const std::lock_guard held(view->lock);
    const auto found = view->pages.find({current_memory(), index});
    return found == view->pages.end() ? nullptr : found->second.page;
}
void map_page(stm_view* view, std::uint64_t index, stm_page* page, bool writable) {
    const std::lock_guard held(view->lock);
    stm_view::Entry& entry = view->pages[{current_memory(), index}];
    if (entry.page != nullptr && entry.page != page)
        put(entry.page);
    entry = {page, writable, STM_TOUCHED_LOAD};
    if (writable)
        entry.touched |= STM_TOUCHED_STORE;
}
bool touch(stm_view* view, std::uint64_t index, bool store) {
    const std::lock_guard held(view->lock);
    const auto found = view->pages.find({current_memory(), index});
    if (found == view->pages.end() || (store && !found->second.writable))
        return false;
    found->second.touched |= STM_TOUCHED_LOAD;
    if (store)
        found->second.touched |= STM_TOUCHED_STORE;
    return true;
}
std::uint64_t address_of(std::uint64_t index) {
    return 0x7f00'0000'0000 + index * STM_PAGE_BYTES;
}
MappingsMoved::MappingsMoved() {
    ++thread.mappings_moved;
}
MappingsMoved::~MappingsMoved() {
    --thread.mappings_moved;
}
void unmap_all(stm_view* view) {
    const std::lock_guard held(view->lock);
    for (const auto& [place, entry] : view->pages)
        put(entry.page);
    view->pages.clear();
}

void unmap_own(stm_view* view) {
    const std::lock_guard held(view->lock);
    std::erase_if(view->pages, [](const auto& entry) {
        if (entry.first.first != current_memory())
            return false;
        put(entry.second.page);
        return true;
    });
}

FileState file_at(int descriptor) {
    const std::lock_guard held(descriptor_lock);
    const auto place = static_cast<std::size_t>(descriptor);
    if (descriptor < 0 || place >= descriptors.size() || descriptors[place].file == nullptr)
        return {};
    const stm_file& file = *descriptors[place].file;
    return {file.handle, file.identity, file.name, file.access, descriptors[place].close_on_exec};
}

void close_descriptor(int descriptor) {
    stm_file* file = nullptr;
    {
        const std::lock_guard held(descriptor_lock);
        Descriptor& entry = descriptors.at(static_cast<std::size_t>(descriptor));
        file = entry.file;
        if (file == nullptr) {
            violated("a descriptor is closed that nothing was installed at");
            return;
        }
        entry = Descriptor();
    }
    counters.descriptors.fetch_sub(1, kRelaxed);
    forget_file(file);
}

const stm_file* still_open() {
    static const stm_file file{nullptr, nullptr, "", 0, true};
    return &file;
}

const stm_file* closed_for_good() {
    static const stm_file file{nullptr, nullptr, "", 0, false};
    return &file;
}

void limit_descriptors(std::size_t limit) {
    const std::lock_guard held(descriptor_lock);
    descriptor_limit = limit;
}

ReadOnlyMemory::ReadOnlyMemory(const void* from, std::size_t bytes) {
    thread.read_only_from = reinterpret_cast<std::uint64_t>(from);
    thread.read_only_bytes = bytes;
}
ReadOnlyMemory::~ReadOnlyMemory() {
    thread.read_only_bytes = 0;
}

UnpinnableMemory::UnpinnableMemory() {
    ++thread.unpinnable;
}
UnpinnableMemory::~UnpinnableMemory() {
    --thread.unpinnable;
}

UserBuffer::UserBuffer(void* memory, std::size_t bytes)
    : buffer_(new stm_user_buffer{static_cast<std::uint8_t*>(memory), bytes, 0, bytes}) {
}
UserBuffer::~UserBuffer() {
    delete buffer_;
}
void UserBuffer::fault_at(std::size_t offset) {
    buffer_->fault_at = offset;
}
std::size_t UserBuffer::consumed() const {
    return buffer_->done;
}

} // namespace stm::simulated

using namespace stm::simulated;

// -- runtime/support/host.h --
// Not those of tests/unit/support/, which count allocations alone: here all that can fail has one
// counter for each thread.

namespace {

struct alignas(std::max_align_t) BlockHeader {
    std::size_t bytes;
};

} // namespace

extern "C" {

void* stm_allocate(std::size_t bytes) {
    const Service service("stm_allocate", Context::may_allocate, Failure::allocation);
    expect(bytes != 0, "stm_allocate of no bytes");
    if (service.fails() || bytes > kLargestAllocation)
        return nullptr;
    auto* header = static_cast<BlockHeader*>(std::malloc(sizeof(BlockHeader) + bytes));
    if (header == nullptr)
        return nullptr;
    header->bytes = bytes;
    std::memset(header + 1, kFreshByte, bytes);
    counters.allocations.fetch_add(1, kRelaxed);
    return header + 1;
}

void stm_free(void* memory) {
    // kvfree may sleep, but a lock may be held.
    const Service service("stm_free", Context::may_sleep);
    if (memory == nullptr)
        return;
    BlockHeader* header = static_cast<BlockHeader*>(memory) - 1;
    std::memset(memory, kFreedByte, header->bytes);
    counters.allocations.fetch_sub(1, kRelaxed);
    std::free(header);
}

void stm_panic(const char* message) {
    std::fprintf(stderr, "stm_panic: %s\n", message);
    std::abort();
}

// -- Locks --

void stm_linux_mutex_init(stm_mutex* mutex, stm_lock_rank rank) {
    new (mutex->words) Mutex{{}, rank};
    counters.locks.fetch_add(1, kRelaxed);
}
void stm_linux_mutex_destroy(stm_mutex* mutex) {
    of(mutex).~Mutex();
    counters.locks.fetch_sub(1, kRelaxed);
}
void stm_linux_mutex_lock(stm_mutex* mutex) {
    const Service service("mutex_lock", Context::may_sleep);
    before_acquiring(mutex);
    of(mutex).lock.lock();
    acquired(mutex, of(mutex).rank);
}
int stm_linux_mutex_try_lock(stm_mutex* mutex) {
    const Service service("mutex_try_lock", Context::may_sleep);
    before_acquiring(mutex);
    if (!of(mutex).lock.try_lock())
        return 0;
    acquired(mutex, of(mutex).rank);
    return 1;
}
void stm_linux_mutex_unlock(stm_mutex* mutex) {
    released(mutex);
    of(mutex).lock.unlock();
}

void stm_linux_shared_mutex_init(stm_shared_mutex* mutex, stm_lock_rank rank) {
    new (mutex->words) SharedMutex{{}, rank};
    counters.locks.fetch_add(1, kRelaxed);
}
void stm_linux_shared_mutex_destroy(stm_shared_mutex* mutex) {
    of(mutex).~SharedMutex();
    counters.locks.fetch_sub(1, kRelaxed);
}
int stm_linux_shared_mutex_lock(stm_shared_mutex* mutex) {
    const Service service("shared_mutex_lock", Context::may_sleep, Failure::lock);
    if (service.fails())
        return -EINTR;
    before_acquiring(mutex);
    of(mutex).lock.lock();
    acquired(mutex, of(mutex).rank);
    return 0;
}
void stm_linux_shared_mutex_unlock(stm_shared_mutex* mutex) {
    released(mutex);
    of(mutex).lock.unlock();
}
int stm_linux_shared_mutex_lock_shared(stm_shared_mutex* mutex) {
    const Service service("shared_mutex_lock_shared", Context::may_sleep, Failure::lock);
    if (service.fails())
        return -EINTR;
    before_acquiring(mutex);
    of(mutex).lock.lock_shared();
    acquired(mutex, of(mutex).rank);
    return 0;
}
void stm_linux_shared_mutex_unlock_shared(stm_shared_mutex* mutex) {
    released(mutex);
    of(mutex).lock.unlock_shared();
}

// -- Waiting --

void stm_linux_wait_queue_init(stm_wait_queue* queue) {
    new (queue->words) WaitQueue{};
}
int stm_linux_wait(stm_wait_queue* queue, int (*ready)(void* context), void* context,
                   __u64 timeout_ns, stm_wait_kind kind) {
    const Service service("wait", Context::may_sleep, Failure::wait);
    if (service.fails())
        return -EINTR;
    WaitQueue& waiters = of(queue);
    const auto ask = [&] {
        ++thread.atomic_context;
        const bool is_ready = ready(context) != 0;
        --thread.atomic_context;
        return is_ready;
    };
    if (ask())
        return 0;
    if (thread.sleepless) {
        constexpr int kMostNaps = 100;
        if (timeout_ns == ~std::uint64_t{0} || ++thread.naps > kMostNaps)
            return -EINTR;
        thread.slept += timeout_ns;
        return -ETIMEDOUT;
    }
    // ~0 is forever; nothing in a test waits that long.
    const auto limit =
        std::chrono::nanoseconds(std::min<std::uint64_t>(timeout_ns, 60'000'000'000));
    const auto end = std::chrono::steady_clock::now() + limit;
    waiters.waiting.fetch_add(1);
    all_sleepers.fetch_add(1);
    int result = 0;
    {
        std::unique_lock held(waiters.lock);
        while (!ask()) {
            if (thread.dying != 0) {
                result = -EINTR;
                break;
            }
            if (waiters.changed.wait_until(held, end) == std::cv_status::timeout) {
                if (timeout_ns == ~std::uint64_t{0})
                    abort_on_violation("somebody waits forever");
                result = ask() ? 0 : -ETIMEDOUT;
                break;
            }
        }
    }
    all_sleepers.fetch_sub(1);
    waiters.waiting.fetch_sub(1);
    (void)kind;
    return result;
}
void stm_linux_wake(stm_wait_queue* queue) {
    const Service service("wake", Context::any);
    WaitQueue& waiters = of(queue);
    // A read-modify-write: either it sees the waiter, or the waiter sees what happened before it.
    if (waiters.waiting.fetch_add(0) == 0)
        return;
    // Who has asked already and does not sleep yet holds the lock.
    { const std::lock_guard held(waiters.lock); }
    waiters.changed.notify_all();
}
void stm_linux_delay(__u64 nanoseconds) {
    const Service service("delay", Context::may_sleep);
    expect(nanoseconds <= 10'000'000, "a delay of more than 10 ms");
    if (thread.sleepless) {
        thread.slept += nanoseconds;
        return;
    }
    // Time is dear in a test.
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min<__u64>(nanoseconds, 20'000)));
}
__u64 stm_linux_monotonic_ns() {
    if (thread.sleepless)
        return 1'000'000'000 + thread.slept;
    return static_cast<__u64>(std::chrono::steady_clock::now().time_since_epoch().count());
}

void stm_linux_timer_init(stm_timer* timer, void (*call)(void* context), void* context) {
    new (timer->words) Timer{call, context, false, false};
}
void stm_linux_timer_arm(stm_timer* timer, __u32 milliseconds) {
    const Service service("timer_arm", Context::any);
    expect(milliseconds != 0, "a timer is armed for no time");
    const std::lock_guard held(timer_lock);
    if (!std::exchange(of(timer).armed, true))
        armed_timers.push_back(&of(timer));
}
void stm_linux_timer_stop(stm_timer* timer) {
    // Waits for the call, which may take any lock.
    const Service service("timer_stop", Context::no_core_lock);
    std::unique_lock held(timer_lock);
    const auto disarm = [&] {
        if (std::exchange(of(timer).armed, false))
            std::erase(armed_timers, &of(timer));
    };
    disarm();
    timer_ran.wait(held, [&] { return !of(timer).running; });
    disarm(); // the call may have armed it again
}

void stm_linux_death_point() {
    if (thread.engine_steps != 0 && --thread.engine_steps == 0)
        thread.engine_action();
}

void stm_linux_stay_on_processor() {
    const Service service("stay_on_processor", Context::any);
    ++thread.atomic_context;
}
void stm_linux_leave_processor() {
    --thread.atomic_context;
    expect(thread.atomic_context >= 0, "a thread leaves its processor once too often");
}
void stm_linux_pause() {
    std::this_thread::yield();
}

// -- Pages --

static stm_page* make_page() {
    counters.pages.fetch_add(1, kRelaxed);
    all_pages.fetch_add(1, kRelaxed);
    return new stm_page;
}
stm_page* stm_linux_page_allocate(stm_identity* identity, __u64 index) {
    const Service service("page_allocate", Context::may_allocate, Failure::allocation);
    if (service.fails())
        return nullptr;
    stm_page* page = make_page();
    page->identity = identity;
    page->index = index;
    identity->pages.fetch_add(1, kRelaxed);
    return page;
}
stm_page* stm_linux_page_allocate_private() {
    const Service service("page_allocate_private", Context::may_allocate, Failure::allocation);
    if (service.fails())
        return nullptr;
    stm_page* page = make_page();
    std::memset(page->bytes, kFreshByte, sizeof(page->bytes));
    return page;
}
void stm_linux_page_release(stm_page* page) {
    const Service service("page_release", Context::may_release);
    if (page->identity != nullptr)
        std::exchange(page->identity, nullptr)->pages.fetch_sub(1, kRelaxed);
    put(page);
}
void stm_linux_page_get(stm_page* page) {
    expect(page->references.fetch_add(1) > 0, "a page is referenced after its end");
}
int stm_linux_page_is_alone(stm_page* page) {
    return page->references.load() == 1;
}
void* stm_linux_page_memory(stm_page* page) {
    return page->bytes;
}

// -- Identity --

int stm_linux_identity_create(const stm_birth* birth, stm_identity** identity) {
    const Service service("identity_create", Context::no_core_lock, Failure::identity);
    if (service.fails())
        return -ENOMEM;
    auto* fresh = new stm_identity;
    const Credential& who = Caller::credential();
    fresh->uid = birth->node != nullptr ? birth->node->uid : who.uid;
    fresh->gid = birth->node != nullptr ? birth->node->gid : who.gid;
    std::uint32_t mode = birth->node != nullptr ? birth->node->mode : birth->mode;
    if (birth->apply_umask != 0)
        mode &= ~Caller::process().umask;
    fresh->mode = mode & 0777;
    counters.identities.fetch_add(1, kRelaxed);
    *identity = fresh;
    return 0;
}
void stm_linux_identity_put(stm_identity* identity) {
    const Service service("identity_put", Context::no_core_lock);
    put(identity);
}
void stm_linux_identity_set_size(stm_identity* identity, __u64 bytes) {
    expect(bytes <= std::uint64_t{1} << 62, "i_size becomes negative");
    identity->size = bytes;
}
void stm_linux_identity_owner(stm_identity* identity, stm_owner* owner) {
    const Service service("identity_owner", Context::may_sleep);
    owner->uid = identity->uid;
    owner->gid = identity->gid;
    owner->mode = identity->mode;
}
int stm_linux_identity_permission(stm_identity* identity, unsigned int access) {
    const Service service("identity_permission", Context::no_core_lock, Failure::permission);
    if (service.fails())
        return -EACCES;
    const Credential& who = Caller::credential();
    if (who.overrides_access)
        return 0;
    const std::uint32_t mode = identity->mode;
    const std::uint32_t rights = who.uid == identity->uid   ? mode >> 6
                                 : who.gid == identity->gid ? mode >> 3
                                                            : mode;
    const std::uint32_t wanted =
        ((access & STM_ACCESS_READ) != 0 ? 4u : 0u) | ((access & STM_ACCESS_WRITE) != 0 ? 2u : 0u);
    return (rights & wanted) == wanted ? 0 : -EACCES;
}
int stm_linux_identity_owned_by_caller(stm_identity* identity) {
    const Service service("identity_owned_by_caller", Context::no_core_lock);
    return Caller::credential().owns_all || Caller::credential().uid == identity->uid;
}
// -- Views --

stm_view* stm_linux_view_create(stm_identity* identity) {
    const Service service("view_create", Context::no_core_lock, Failure::allocation);
    if (service.fails())
        return nullptr;
    counters.views.fetch_add(1, kRelaxed);
    identity->views.fetch_add(1, kRelaxed);
    auto* view = new stm_view;
    view->identity = identity;
    return view;
}
void stm_linux_view_destroy(stm_view* view) {
    const Service service("view_destroy", Context::no_core_lock);
    expect(view->mappings.empty() && view->pages.empty(), "a view ends before its mappings");
    view->identity->views.fetch_sub(1, kRelaxed);
    counters.views.fetch_sub(1, kRelaxed);
    delete view;
}
__u32 stm_linux_view_mappings(stm_view* view,
                              void (*visit)(void* context, const stm_mapping* mapping),
                              void* context) {
    const Service service("view_mappings", Context::may_sleep);
    const std::lock_guard held(view->lock);
    if (visit != nullptr) {
        ++thread.atomic_context;
        for (const auto& [key, mapping] : view->mappings)
            visit(context, &mapping);
        --thread.atomic_context;
    }
    return static_cast<__u32>(view->mappings.size());
}
stm_memory* stm_linux_memory_current() {
    stm_memory* const memory = current_memory();
    current_thread()->memory.store(memory, kRelaxed);
    return memory;
}
void stm_linux_memory_hold(stm_memory* memory) {
    expect(memory->references.fetch_add(1) > 0, "an address space is referenced after its end");
    counters.memory_references.fetch_add(1, kRelaxed);
}
void stm_linux_memory_drop(stm_memory* memory) {
    put(memory);
    counters.memory_references.fetch_sub(1, kRelaxed);
}
int stm_linux_view_close(stm_view* view, stm_memory* memory) {
    const Service service("view_close", Context::no_core_lock);
    if (memory->ended)
        return 0;
    before_acquiring(memory);
    memory->mmap_lock.lock();
    acquired(memory, kMmapLockRank);
    thread.closed = view;
    return 1;
}
int stm_linux_view_try_close(stm_view* view, stm_memory* memory) {
    const Service service("view_try_close", Context::no_core_lock);
    if (memory->ended)
        return 0;
    if (!memory->mmap_lock.try_lock())
        return -EBUSY;
    acquired(memory, kMmapLockRank);
    thread.closed = view;
    return 1;
}
void stm_linux_view_open(stm_memory* memory) {
    thread.closed = nullptr;
    released(memory);
    memory->mmap_lock.unlock();
}
void stm_linux_view_unmap(stm_view* view, __u64 first, __u64 count) {
    const Service service("view_unmap", Context::may_sleep);
    const std::lock_guard held(view->lock);
    for (auto place = view->pages.begin(); place != view->pages.end();) {
        const std::uint64_t index = place->first.second;
        if (index < first || index - first >= count) {
            ++place;
            continue;
        }
        put(place->second.page);
        place = view->pages.erase(place);
    }
}
__u64 stm_linux_view_extent(stm_view* view, __u64 index, __u64 address, stm_area** area,
                            int* writable) {
    const Service service("view_extent", Context::may_sleep);
    expect(thread.closed == view, "a view is looked at while it is open");
    *writable = 1;
    const bool mapped = thread.mappings_moved == 0 && address == address_of(index);
    *area = mapped ? reinterpret_cast<stm_area*>(view) : nullptr;
    return mapped ? 1000 : 0;
}
void stm_linux_view_map(stm_area* area, __u64 address, stm_page* const* pages, __u32 count,
                        int writable) {
    const Service service("view_map", Context::may_allocate, Failure::allocation);
    expect(area != nullptr, "pages are mapped where their mapping is not");
    auto* const view = reinterpret_cast<stm_view*>(area);
    expect(thread.closed == view, "pages are mapped while the view is open");
    const __u64 index = (address - address_of(0)) / STM_PAGE_BYTES;
    expect(address == address_of(index), "pages are mapped where their mapping is not");
    if (service.fails())
        return;
    const std::lock_guard held(view->lock);
    for (__u32 i = 0; i < count; ++i) {
        const bool fresh = view->pages
                               .try_emplace({current_memory(), index + i},
                                            stm_view::Entry{pages[i], writable != 0})
                               .second;
        if (fresh)
            expect(pages[i]->references.fetch_add(1) > 0, "a page is mapped after its end");
    }
}
void stm_linux_view_examine(stm_view* view, __u64 index, __u64, __u32 count, __u8* touched) {
    const Service service("view_examine", Context::may_sleep);
    expect(thread.closed == view, "a view is examined while it is open");
    const std::lock_guard held(view->lock);
    for (__u32 i = 0; i < count; ++i) {
        const auto found = view->pages.find({current_memory(), index + i});
        touched[i] = found == view->pages.end() ? STM_TOUCHED_LOAD : found->second.touched;
    }
}

// -- Files --

int stm_linux_file_create(stm_handle* handle, stm_identity* identity, stm_view* view,
                          const char* name, unsigned int access, stm_file** file) {
    const Service service("file_create", Context::no_core_lock, Failure::file);
    expect(view == stm_core_view(handle), "a file is created with the view of another handle");
    if (service.fails())
        return -ENFILE;
    get(identity);
    counters.files.fetch_add(1, kRelaxed);
    *file = new stm_file{handle, identity, name, access};
    return 0;
}
void stm_linux_file_drop(stm_file* file) {
    const Service service("file_drop", Context::no_core_lock);
    forget_file(file);
}
void stm_linux_file_install(int descriptor, stm_file* file) {
    const Service service("file_install", Context::no_core_lock);
    const std::lock_guard held(descriptor_lock);
    Descriptor& entry = descriptors.at(static_cast<std::size_t>(descriptor));
    expect(entry.used && entry.file == nullptr, "a file is installed where none was reserved");
    entry.file = file;
}
int stm_linux_file_has_descriptor(const stm_file* file) {
    return file != nullptr && file->has_descriptor;
}
int stm_linux_descriptor_reserve(int close_on_exec) {
    const Service service("descriptor_reserve", Context::no_core_lock, Failure::descriptor);
    if (service.fails())
        return -EMFILE;
    const std::lock_guard held(descriptor_lock);
    std::size_t place = 0;
    while (place < descriptors.size() && descriptors[place].used)
        ++place;
    if (place == descriptor_limit)
        return -EMFILE;
    if (place == descriptors.size())
        descriptors.emplace_back();
    descriptors[place] = {true, close_on_exec != 0, nullptr};
    counters.descriptors.fetch_add(1, kRelaxed);
    return static_cast<int>(place);
}
void stm_linux_descriptor_release(int descriptor) {
    const Service service("descriptor_release", Context::no_core_lock);
    const std::lock_guard held(descriptor_lock);
    Descriptor& entry = descriptors.at(static_cast<std::size_t>(descriptor));
    expect(entry.used && entry.file == nullptr, "a descriptor is released that is not reserved");
    entry = Descriptor();
    counters.descriptors.fetch_sub(1, kRelaxed);
}

// -- The caller --

stm_process* stm_linux_process_current() {
    stm_process* process = Caller::reference();
    process->references.fetch_add(1);
    counters.process_references.fetch_add(1, kRelaxed);
    return process;
}
void stm_linux_process_put(stm_process* process) {
    put(process);
    counters.process_references.fetch_sub(1, kRelaxed);
}
__s32 stm_linux_process_describe(stm_process* process, char command[16]) {
    std::memset(command, 0, 16);
    if (!process->gone && process->pid != 0)
        std::memcpy(command, process->command, 16);
    return process->pid;
}
stm_thread* stm_linux_thread_current() {
    stm_thread* self = current_thread();
    self->references.fetch_add(1);
    counters.thread_references.fetch_add(1, kRelaxed);
    return self;
}
void stm_linux_thread_put(stm_thread* thread_to_put) {
    ThreadIdentity::put(thread_to_put);
    counters.thread_references.fetch_sub(1, kRelaxed);
}
int stm_linux_thread_is_current(const stm_thread* one) {
    return one == current_thread();
}
int stm_linux_thread_is_alive(stm_thread* one) {
    return !one->ended.load(std::memory_order_acquire);
}
int stm_linux_thread_runs(stm_thread* one, __u64 exec_id) {
    return stm_linux_thread_is_alive(one) != 0 && one->exec_id.load(kRelaxed) == exec_id;
}
int stm_linux_thread_shares_descriptors(stm_thread* one) {
    // One that ends has given its descriptors back.
    return stm_linux_thread_is_alive(one) != 0 &&
           stm_linux_thread_is_alive(current_thread()) != 0 &&
           one->memory.load(kRelaxed) == current_memory();
}
__s32 stm_linux_thread_id(stm_thread* one) {
    return one->id;
}
void stm_linux_thread_signal(stm_thread* one, __u64 exec_id, int signal) {
    const Service service("thread_signal", Context::any);
    if (one->ended || one->exec_id.load(kRelaxed) != exec_id)
        return;
    const std::lock_guard held(one->lock);
    one->signals.push_back(signal);
}
__u64 stm_linux_exec_id() {
    return current_thread()->exec_id.load(kRelaxed);
}
int stm_linux_dying() {
    return thread.dying != 0;
}

__u32 stm_linux_current_user() {
    return Caller::credential().uid;
}
int stm_linux_may_exceed_limits() {
    return Caller::credential().exceeds_limits;
}
__u64 stm_linux_realtime_ns() {
    return realtime.fetch_add(1000, kRelaxed);
}

// -- User memory --

int stm_linux_copy_in(void* to, __u64 from, unsigned long bytes) {
    const Service service("copy_in", Context::no_lock, Failure::copy);
    if (service.fails() || !mapped(from, bytes))
        return -EFAULT;
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return 0;
}
int stm_linux_copy_out(__u64 to, const void* from, unsigned long bytes) {
    const Service service("copy_out", Context::no_lock, Failure::copy);
    if (service.fails() || !writable(to, bytes))
        return -EFAULT;
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return 0;
}
int stm_linux_copy_struct_in(void* to, unsigned long known, __u64 from, unsigned long given) {
    const Service service("copy_struct_in", Context::no_lock, Failure::copy);
    if (service.fails() || !mapped(from, given))
        return -EFAULT;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(from);
    for (std::size_t offset = known; offset < given; ++offset) {
        if (bytes[offset] != 0)
            return -E2BIG;
    }
    std::memset(to, 0, known);
    std::memcpy(to, bytes, std::min(known, given));
    return 0;
}
unsigned long stm_linux_buffer_left(stm_user_buffer* buffer) {
    return buffer->bytes - buffer->done;
}
// How much goes through until the buffer's memory ends.
static unsigned long through(const stm_user_buffer* buffer, unsigned long bytes) {
    const unsigned long readable = buffer->fault_at - std::min(buffer->fault_at, buffer->done);
    return std::min({bytes, buffer->bytes - buffer->done, readable});
}
unsigned long stm_linux_buffer_put(stm_user_buffer* buffer, const void* from, unsigned long bytes) {
    const Service service("buffer_put", Context::no_lock, Failure::buffer);
    if (service.fails())
        return 0;
    const unsigned long count = through(buffer, bytes);
    std::memcpy(buffer->memory + buffer->done, from, count);
    buffer->done += count;
    return count;
}
unsigned long stm_linux_buffer_get(stm_user_buffer* buffer, void* to, unsigned long bytes) {
    const Service service("buffer_get", Context::no_lock, Failure::buffer);
    if (service.fails())
        return 0;
    const unsigned long count = through(buffer, bytes);
    std::memcpy(to, buffer->memory + buffer->done, count);
    buffer->done += count;
    return count;
}
void stm_linux_buffer_revert(stm_user_buffer* buffer, unsigned long bytes) {
    expect(bytes <= buffer->done, "more is made unread than was read");
    buffer->done -= bytes;
}

int stm_linux_pin(__u64 address, unsigned long bytes, stm_pin** pin, void** memory) {
    const Service service("pin", Context::no_lock, Failure::pin);
    if (service.fails())
        return -ENOMEM;
    if (address % bytes != 0 || address % STM_PAGE_BYTES + bytes > STM_PAGE_BYTES)
        return -EINVAL;
    if (!writable(address, bytes))
        return -EFAULT;
    if (thread.unpinnable != 0)
        return -EINVAL;
    counters.pins.fetch_add(1, kRelaxed);
    *pin = new stm_pin{address};
    *memory = reinterpret_cast<void*>(address);
    return 0;
}
void stm_linux_unpin(stm_pin* pin) {
    const Service service("unpin", Context::may_release);
    counters.pins.fetch_sub(1, kRelaxed);
    delete pin;
}

// -- Everything else --

void stm_linux_breathe() {
    const Service service("breathe", Context::may_sleep);
}
void stm_linux_random(void* to, unsigned long bytes) {
    auto* target = static_cast<std::uint8_t*>(to);
    for (unsigned long place = 0; place < bytes; ++place) {
        const std::uint64_t before = entropy.fetch_add(0xD1342543DE82EF95, kRelaxed);
        target[place] = static_cast<std::uint8_t>((before ^ before >> 29) >> 32);
    }
}

} // extern "C"
