// SPDX-License-Identifier: GPL-2.0
// A Linux for the module's core, in user space: it implements kernel/interface/services.h and
// runtime/support/host.h, and lets a test decide who calls, what fails, and what happens in
// between.
//
// It watches as well. A broken rule of services.h (lock order, a lock held during a user copy or an
// allocation, a page that outlives its identity, a reference too many) goes to the violation
// handler. What is alive is counted, for the check at the end of each test.
//
// Any number of threads. Counters are relaxed and per-thread plans take no lock, so that the
// simulation orders nothing that Linux would not order: a race in the core stays one for TSan.
//
// A new service goes into one of simulated/*.cc: it begins with a Service, which checks what its
// caller holds and makes it a step of the calling thread, and, if it can fail, asks
// service.fails().
#pragma once

#include "kernel/interface/entry.h" // IWYU pragma: export

#include <atomic> // IWYU pragma: export
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace stm::simulated {

// -- What must hold --

// Called with a sentence about each broken rule, by any thread. The default prints it and aborts.
using ViolationHandler = void (*)(const std::string& what);
void set_violation_handler(ViolationHandler handler);

// What exists now and must be gone in the end.
struct Live {
    long allocations = 0;
    long pages = 0;
    long identities = 0;
    long views = 0;
    long process_references = 0;
    long thread_references = 0;
    long memory_references = 0;
    long pins = 0; // of user memory
    long files = 0;
    long descriptors = 0; // reserved or installed
    long locks = 0;       // initialised and not destroyed
    long held_locks = 0;  // by the calling thread

    bool operator==(const Live&) const = default;
};
Live live();
std::string describe(const Live& live);

// -- Services that fail --

enum class Failure : std::uint8_t {
    none,
    allocation, // stm_allocate and page_allocate: ENOMEM
    identity,   // ENOMEM
    file,       // ENFILE
    descriptor, // EMFILE
    lock,       // a killable wait for a lock: EINTR
    wait,       // EINTR
    permission, // EACCES
    copy,       // EFAULT
    buffer,     // a read or write call's buffer: nothing goes through
    pin,        // ENOMEM
};
// The negative errno value that such a failure is reported by.
int errno_of(Failure failure);

// While it lives, the n-th call of a service by this thread that can fail (counted from 1) fails,
// and only that one. Not nested.
class FailPoint {
public:
    explicit FailPoint(std::size_t nth);
    ~FailPoint();
    FailPoint(const FailPoint&) = delete;
    FailPoint& operator=(const FailPoint&) = delete;

    // What failed; none if there were fewer calls.
    Failure happened() const;
};

// While it lives, the n-th call of a service by this thread at a moment when it holds no lock
// (counted from 1) is preceded by the action: what another thread could do there. Not nested.
class Interleave {
public:
    Interleave(std::size_t nth, std::function<void()> action);
    ~Interleave();
    Interleave(const Interleave&) = delete;
    Interleave& operator=(const Interleave&) = delete;

    bool happened() const;
};

// The same for the steps of the engine, the nth access to what is shared: what another processor
// could do there, also in the middle of a commit.
class InterleaveCommit {
public:
    InterleaveCommit(std::size_t nth, std::function<void()> action);
    ~InterleaveCommit();
    InterleaveCommit(const InterleaveCommit&) = delete;
    InterleaveCommit& operator=(const InterleaveCommit&) = delete;
};

// While it lives, this thread tells and asks no FailPoint and no Interleave: for the test's own
// calls.
class Undisturbed {
public:
    Undisturbed();
    ~Undisturbed();
    Undisturbed(const Undisturbed&) = delete;
    Undisturbed& operator=(const Undisturbed&) = delete;
};

// -- Who calls --

struct Credential {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    bool exceeds_limits = false;   // CAP_SYS_RESOURCE
    bool overrides_access = false; // CAP_DAC_OVERRIDE
    bool owns_all = false;         // CAP_FOWNER
};
inline constexpr Credential kRoot{0, 0, true, true, true};

// A process; it ends with this. Outlives every scope in which it is the caller.
class Process {
public:
    Process(int pid, Credential credential, const char* command = "test",
            std::uint32_t umask = 022);
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void exit(); // from now on it has no name
    // Its address space gets the place of the last one that nobody referred to any more, as it may
    // in Linux.
    void move_to_the_place_of_an_ended_memory();
    int pid() const { return pid_; }

    Credential credential;
    std::uint32_t umask;

private:
    friend class As;
    friend struct Caller;
    int pid_;
    stm_process* process_;
};

// Process 1, of root: the caller in every thread that says nothing else.
Process& init_process();

// The calling thread acts as that process.
class As {
public:
    explicit As(Process& process);
    ~As();
    As(const As&) = delete;
    As& operator=(const As&) = delete;

private:
    Process* before_;
};

// A thread beside the real ones. It ends with this, or before.
class OtherThread {
public:
    OtherThread();
    ~OtherThread();
    OtherThread(const OtherThread&) = delete;
    OtherThread& operator=(const OtherThread&) = delete;

    void end();

private:
    friend class AsThread;
    stm_thread* thread_;
};

// The calling thread acts as that thread: so one real thread can play several, in an order that is
// always the same.
class AsThread {
public:
    explicit AsThread(OtherThread& thread);
    ~AsThread();
    AsThread(const AsThread&) = delete;
    AsThread& operator=(const AsThread&) = delete;

private:
    stm_thread* before_;
};

// While it lives, nothing that the calling thread does takes time, and the clock goes only by what
// is slept: a wait that would sleep is over at once, by its time-out; or by a signal, if it has
// none, or has timed out often (a signal comes in the end for who waits in a loop). Not nested.
class Sleepless {
public:
    Sleepless();
    ~Sleepless();
    Sleepless(const Sleepless&) = delete;
    Sleepless& operator=(const Sleepless&) = delete;
};

// While it lives, the clock stands still for all threads: none of them is late, however long a busy
// machine lets it wait. What they sleep takes as long as ever. Not nested.
class StoppedClock {
public:
    StoppedClock();
    ~StoppedClock();
    StoppedClock(const StoppedClock&) = delete;
    StoppedClock& operator=(const StoppedClock&) = delete;
};

// How many threads are in a wait of a queue.
int sleepers();

// The calling thread calls exec: its process has another program now.
void exec();
// The same in the least convenient order: the process has another address space first, then the
// action closes descriptors, and only then it is another program. (Linux 6.1 and 6.12 close before
// they leave the address space.)
void exec(const std::function<void()>& close);
// The signals that the core sent to the calling thread, with STM_SIGNAL_COOKIE, since it last
// asked.
std::vector<int> take_signals();

// While it lives, a fatal signal is pending for the calling thread.
class Dying {
public:
    Dying();
    ~Dying();
    Dying(const Dying&) = delete;
    Dying& operator=(const Dying&) = delete;
};

// The calling thread holds its address space's mmap_lock for reading, as in a fault (which may have
// its mapping's lock instead), and in mmap as far as the core can tell.
class MmapLock {
public:
    MmapLock();
    ~MmapLock();
    MmapLock(const MmapLock&) = delete;
    MmapLock& operator=(const MmapLock&) = delete;
};

// -- Tracepoints --

// What the core told those who watch. What a field means depends on the event (interface/trace.h).
struct Event {
    std::string what; // "start", "commit", …
    std::string region;
    int kind = 0; // way, wait, repair, or the result of a fault
    std::uint64_t owner = 0;
    std::uint32_t reason = 0;
    long long offset = -1;
    std::uint64_t version = 0;
    std::uint64_t locked_by = 0;
    std::uint32_t row = 0;
    std::uint64_t read = 0;
    std::uint64_t written = 0;
};

// While it lives, all events are switched on. One at a time.
class Watching {
public:
    Watching();
    ~Watching();
    Watching(const Watching&) = delete;
    Watching& operator=(const Watching&) = delete;

    // What has happened since the last call.
    std::vector<Event> take();

private:
    std::vector<Event> events_;
};

// -- Timers --

// Calls every timer that is armed, in the calling thread, as if its time had come. Returns how
// many. No timer runs by itself.
std::size_t run_timers();

// -- Pages and identities --

// A device node in /dev.
class Node {
public:
    Node(std::uint32_t uid, std::uint32_t gid, std::uint32_t mode);
    ~Node();
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;
    const stm_node* get() const { return node_; }

private:
    stm_node* node_;
};

struct PageState {
    const stm_identity* identity;
    std::uint64_t index;
};
PageState page_state(const stm_page* page);
std::uint8_t* page_bytes(stm_page* page);
// Gives a reference back.
void put(stm_page* page);
// What memory holds that was given and not yet written to, and that was given back.
inline constexpr std::uint8_t kFreshByte = 0xA5;
inline constexpr std::uint8_t kFreedByte = 0xDD;
// How many pages were allocated since the program began.
std::uint64_t pages_allocated();

// Those that belong to the handles' views.
stm_identity* identity_of(const stm_view* view);
void change_mode(stm_identity* identity, std::uint32_t mode);
void change_owner(stm_identity* identity, std::uint32_t uid, std::uint32_t gid);
std::uint64_t identity_size(const stm_identity* identity);

// A mapping that lives as long as this.
class Mapped {
public:
    Mapped(stm_view* view, const stm_mapping& mapping);
    ~Mapped();
    Mapped(const Mapped&) = delete;
    Mapped& operator=(const Mapped&) = delete;

private:
    stm_view* view_;
    std::uint64_t key_;
};

// -- Page tables --

// The address space of the calling thread's process.
stm_memory* current_memory();
// What is mapped there in the caller's address space, or null.
stm_page* mapped_page(stm_view* view, std::uint64_t index);
// Enters a page that a fault of a transactional region gave, with its reference, or makes the one
// that is there writable; the core may take it out again.
void map_page(stm_view* view, std::uint64_t index, stm_page* page, bool writable);
// The processor loads from the page, or stores to it. False: that would be a fault.
bool touch(stm_view* view, std::uint64_t index, bool store);
// Where a page is mapped, in every address space, unless it was moved away there.
std::uint64_t address_of(std::uint64_t index);
// While it lives, the calling thread's mappings are somewhere else.
class MappingsMoved {
public:
    MappingsMoved();
    ~MappingsMoved();
    MappingsMoved(const MappingsMoved&) = delete;
    MappingsMoved& operator=(const MappingsMoved&) = delete;
};
// munmap of all mappings of the view, in all address spaces.
void unmap_all(stm_view* view);
// The same in the address space of the calling thread's process only.
void unmap_own(stm_view* view);

// -- Files and descriptors --

struct FileState {
    stm_handle* handle; // null: nothing is installed there
    stm_identity* identity;
    std::string name;
    unsigned int access;
    bool close_on_exec;
};
FileState file_at(int descriptor);
// close(2): releases the file's handle.
void close_descriptor(int descriptor);
// For stm_core_flush(): a file of which the calling process has another descriptor; and one of
// which it has none, and never again. Of a null one it has none at that moment.
const stm_file* still_open();
const stm_file* closed_for_good();
inline constexpr const stm_file* kLastDescriptor = nullptr;
// A process may have so many (RLIMIT_NOFILE).
void limit_descriptors(std::size_t limit);

// -- User memory --

// Addresses are those of the test program. Below this one nothing is mapped: EFAULT.
inline constexpr std::uint64_t kLowestAddress = 4096;

// While it lives, the calling thread's user memory from there on can be read but not written.
class ReadOnlyMemory {
public:
    ReadOnlyMemory(const void* from, std::size_t bytes);
    ~ReadOnlyMemory();
    ReadOnlyMemory(const ReadOnlyMemory&) = delete;
    ReadOnlyMemory& operator=(const ReadOnlyMemory&) = delete;
};

// While it lives, the calling thread's user memory is not of the kind that can be pinned.
class UnpinnableMemory {
public:
    UnpinnableMemory();
    ~UnpinnableMemory();
    UnpinnableMemory(const UnpinnableMemory&) = delete;
    UnpinnableMemory& operator=(const UnpinnableMemory&) = delete;
};

// The buffer of a read or write call.
class UserBuffer {
public:
    UserBuffer(void* memory, std::size_t bytes);
    ~UserBuffer();
    UserBuffer(const UserBuffer&) = delete;
    UserBuffer& operator=(const UserBuffer&) = delete;

    // The buffer's memory ends there: what goes beyond is cut short.
    void fault_at(std::size_t offset);
    // How much of it was used up.
    std::size_t consumed() const;
    stm_user_buffer* get() const { return buffer_; }

private:
    stm_user_buffer* buffer_;
};

} // namespace stm::simulated
