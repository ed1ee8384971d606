// SPDX-License-Identifier: LGPL-2.1-or-later
// What a thread knows about its transactions: for each descriptor, where a restart goes back to.
//
// Only the thread itself, and signal handlers that interrupt it, touch its state; there is no lock.
// While library code changes the state, the thread is inside a Section. A signal handler that finds
// it there does not look at the state. It leaves a notice, and the section's end acts on it.
// Outside of sections the state is consistent, and a handler may send the thread back to stm_start
// from anywhere.
//
// Memory comes from mmap when stm_start first uses a descriptor, never in a handler.
#pragma once

#include "stack.hpp"
#include "warm.hpp"

#include <atomic>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <ucontext.h>

namespace stm::library {

/** What stm_start saves of its caller. transaction_start.S knows the layout. */
struct Registers {
    std::uint64_t rbx, rbp, r12, r13, r14, r15;
    std::uint64_t rsp; // after the return
    std::uint64_t rip; // the return address
    std::uint32_t mxcsr;
    std::uint32_t x87_control;
    std::uint64_t shadow_stack; // 0: none
};
static_assert(offsetof(Registers, rsp) == 48 && offsetof(Registers, mxcsr) == 64 &&
              offsetof(Registers, shadow_stack) == 72 && sizeof(Registers) == 80);

/** Which function began the transaction. Only stm_try_start can report an error. */
enum class StartKind : int { start = 0, try_start = 1 };

/**
 * Here the kernel offers a start without a system call: struct stm_warm_cell, as this thread and
 * the kernel use it. It does not move during the thread's life.
 */
struct Cell {
    std::atomic<std::uint64_t> offer;
    std::atomic<std::uint64_t> begun;
    std::atomic<std::uint64_t> snapshot; // these two count in a warm cell
    std::atomic<std::uint64_t> ended;
};

constexpr std::size_t kCellBytes = 4096;
constexpr std::size_t kCells = kCellBytes / sizeof(Cell);

/** Commits in a row that failed for a reason that does not go away by itself: see futile.hpp. */
struct Futile {
    unsigned count;
    int error;
    std::uint64_t site; // where stm_start returned to
};

/**
 * A thread's transaction that began by one descriptor's number. The transaction itself belongs to
 * the open file, which can have other numbers: see ThreadState::running_on(). It does not move
 * during the thread's life.
 */
struct ThreadTransaction {
    Registers registers; // first: stm_library_resume() takes a ThreadTransaction for it
    // What setjmp saved at the start, for the thread sanitizer: see sanitizers.hpp. Null: nothing.
    std::jmp_buf* way_back;
    ThreadTransaction* next; // of the running transactions, in the order of their starts
    ThreadTransaction* previous;
    int fd;
    int depth;    // 0: none runs
    int phantoms; // parts within the innermost of these that only the program knows: see
                  // add_phantom
    bool goes_on; // it is doomed, and was told to go on: see go_on()
    int held;     // how often restarts were held back when it began
    StartKind kind;
    unsigned attempts;  // attempts in a row that failed
    unsigned limit;     // of attempts; 0: none
    int failure;        // why it ends instead of being restarted; 0: it does not
    int deadlocked_by;  // a request by this number failed with EDEADLK because of it
    unsigned deadlocks; // restarts in a row for that reason
    Futile futile;
    Cell* cell;         // null: it has none
    const Clock* clock; // with which the kernel got the cell; null: it is no warm one
    unsigned closes;    // closes_of() the number before it got the cell
    unsigned detached;  // starts by system call in a row while the kernel did not know the cell
    // Null, or the number's place in the table of warm_clock(), and that of its closes: then it may
    // begin and end at once (at_once.hpp). It is null while there is a limit of attempts, or a
    // count of futile commits.
    const std::atomic<const Clock*>* clock_place;
    const std::atomic<unsigned>* closes_place;
};
static_assert(offsetof(ThreadTransaction, registers) == 0 &&
              offsetof(ThreadTransaction, way_back) == 80);

/** What the kernel says of a thread's transactions: they can commit, should be tried again, or
 * cannot go on because of the system's limits or memory. */
enum class Doom { none, doomed, failed };

struct Chunk;
class ThreadState;

// The initial-exec model is needed because signal handlers read it: any other model may allocate
// memory at the first use in a thread.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ThreadState* this_thread;

// Short functions that are part of each transaction are inline, so they cost no call.
class ThreadState {
public:
    /** The calling thread's; null if it has none yet. Signal handlers may call it. */
    static ThreadState* current() { return this_thread; }
    /** The calling thread's, made if it has none; null with errno ENOMEM. */
    static ThreadState* current_or_new();
    /** In the child of a fork: the kernel knows no transaction of this thread. */
    static void forget_transactions();

    /** The transaction of a descriptor's number, O(1); null if there is none. */
    ThreadTransaction* find(int fd) { return is_recent(fd) ? recent_ : find_in_table(fd); }
    /** The running transaction on the open file of a descriptor, whatever the number by which it
     * began; null if none is known. */
    ThreadTransaction* running_on(int fd) {
        if (is_recent(fd) && recent_->depth != 0 && !runs_several())
            return recent_;
        return find_running(fd);
    }
    /** Like find(), but makes it if there is none; null with errno ENOMEM. */
    ThreadTransaction* find_or_add(int fd) {
        ThreadTransaction* const found = find(fd);
        return found != nullptr ? found : add(fd);
    }

    /** The shortest ways through stm_start and stm_commit, which at_once.hpp describes. `frame`: of
     * the function that the program has called. */
    struct AtOnce {
        enum What {
            done,
            called_for, // a system call is to do it; the section is still open
            left        // to the long way: nothing was done
        };
        What what;
        ThreadTransaction* transaction;
    };
    AtOnce begin_at_once(int fd, StartKind kind, const Registers& registers, const void* frame);
    AtOnce end_at_once(int fd, const void* frame);
    /** What these two do: of a thread that has no other transaction. */
    void run_alone(ThreadTransaction& transaction, StartKind kind, const Registers& registers);
    void end_alone(ThreadTransaction& transaction);
    /** Leaves the only section. */
    void leave_last() {
        fence();
        busy_ = 0;
        fence();
        if (noticed_ && held_ == 0) [[unlikely]]
            act_on_notices();
    }

    [[nodiscard]] bool is_running() const { return first_ != nullptr; }
    /** The transaction that started first: a restart goes back there. Null: none runs. */
    [[nodiscard]] ThreadTransaction* outermost() const { return first_; }
    /** The transaction's cell; it gets one if it has none. Null: there is none. `closes`:
     * closes_of() its descriptor's number, before a transaction began on the file that has the
     * number now. */
    Cell* cell_of(ThreadTransaction* transaction, unsigned closes);
    /** Whether more than one transaction runs. */
    [[nodiscard]] bool runs_several() const { return first_ != last_; }
    void add_running(ThreadTransaction* transaction);
    void remove_running(ThreadTransaction* transaction);

    /** Asks the kernel for the depth, after an error that the transaction may not have survived. */
    void correct_depth(ThreadTransaction* transaction);

    /** Asks the kernel whether a running transaction cannot commit. Forgets those that are gone. */
    Doom look();
    /** The error because of which look() said `failed`. */
    [[nodiscard]] int failure() const { return failure_; }
    /** Makes the kernel give doomed transactions what they load, though it may not fit together.
     * Returns whether this is new for one of them. */
    bool go_on();
    /** Undoes all running transactions but one (null: all). What the program does with their
     * handles fails until it commits, cancels or starts there. */
    void undo_others(const ThreadTransaction* but);
    /** Forgets all running transactions. */
    void forget_running();
    /** Ends all running transactions but one (null: all). */
    void cancel_others(const ThreadTransaction* but);

    // Sections. `busy` and `noticed` are written by the thread and its signal handlers.
    void enter(const void* frame) {
        // An earlier section is still open, but its stack is gone: a signal handler has left it by
        // longjmp.
        if (busy_ > 0 && frame > busy_frame_)
            busy_ = 0;
        if (busy_ == 0)
            busy_frame_ = frame;
        busy_ = busy_ + 1;
        fence();
    }
    /** Leaves the section. Restarts if a notice came meanwhile and is still true. */
    void leave() {
        fence();
        busy_ = busy_ - 1;
        fence();
        if (noticed_ && !is_busy()) [[unlikely]]
            act_on_notices();
    }
    /** Whether a restart has to wait. */
    [[nodiscard]] bool is_busy() const { return busy_ > 0 || held_ > 0; }
    /** For the program: like a section that ends when the program says so. It may be the first
     * thing that the thread does. */
    static void hold();
    static void release();
    [[nodiscard]] bool is_held() const { return held_ > 0; }
    [[nodiscard]] bool is_in_section() const { return busy_ > 0; }
    /** A part begins that the kernel does not know: the transaction cannot commit, but the program
     * cannot be told yet, and will end the part like any other. */
    void add_phantom(ThreadTransaction* transaction);
    void notice_later() { noticed_ = true; }
    void forget_notice() { noticed_ = false; }
    [[nodiscard]] bool has_notice() const { return noticed_; }
    /** Whether the function that began the outermost transaction has returned, now that the
     * program's stack pointer is `now`. */
    [[nodiscard]] bool has_left(std::uintptr_t now) const {
        return first_ != nullptr && stack_.has_left(first_->registers.rsp, now);
    }
    /** Ends any section, for a restart. The thread is busy until the restart is done. Gives up if a
     * restart is impossible with the program's stack pointer at `now`. */
    void begin_restart(const ThreadTransaction* target, std::uintptr_t now);
    /** The program's stack pointer when it called the function that began the section. */
    [[nodiscard]] std::uintptr_t programs_stack() const;
    /** Leaves all sections without looking at notices. */
    void leave_at_once();

private:
    // A section where none is open.
    void enter_first(const void* frame) {
        busy_frame_ = frame;
        busy_ = 1;
        fence();
    }
    // A signal handler sees everything written before, and nothing written after.
    static void fence() { std::atomic_signal_fence(std::memory_order_seq_cst); }
    void act_on_notices();

    [[nodiscard]] ThreadTransaction* ordinary(int fd) const;
    [[nodiscard]] bool is_recent(int fd) const { return recent_ != nullptr && recent_->fd == fd; }
    ThreadTransaction* find_in_table(int fd);
    ThreadTransaction* find_running(int fd);
    ThreadTransaction* add(int fd);
    ThreadTransaction** slot_of(ThreadTransaction** table, std::size_t capacity, int fd) const;
    int grow();
    ThreadTransaction* new_transaction();
    void destroy();
    void release_own();
    static void at_thread_exit(void* state);
    static void make_key();

    Stack stack_;
    ThreadTransaction* first_;
    ThreadTransaction* last_;
    ThreadTransaction* recent_; // the result of the last find()
    const void* busy_frame_;
    volatile int busy_;
    volatile int held_;
    volatile bool noticed_;
    int failure_;

    ThreadTransaction** table_; // open addressing by descriptor, a power of two, at most half full
    std::size_t capacity_;
    std::size_t count_;
    Chunk* chunks_;
    std::size_t free_in_chunk_;
    Cell* cells_; // a page of them
    bool has_no_cells_;
    bool is_taken_[kCells]; // by transactions
};

/** Library code in which the thread's state may be half changed. */
class Section {
public:
    explicit Section(ThreadState& thread) : Section(thread, __builtin_frame_address(0)) {}
    /** `frame`: of the function that the program has called. */
    Section(ThreadState& thread, const void* frame) : thread_(thread) { thread_.enter(frame); }
    ~Section() { thread_.leave(); }
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;

private:
    ThreadState& thread_;
};

/** Goes back to the thread's outermost stm_start. Some transaction must run. */
[[noreturn]] void restart(ThreadState& thread);
/**
 * The same after EDEADLK: a transaction by another number, on the same region, would wait for the
 * outermost one. The outermost one may not need the serial token next time. After a few such
 * restarts it fails. Returns if no restart is possible.
 */
void restart_deadlocked(ThreadState& thread, int fd);
/** Like restart(), by changing the place to which a signal handler returns. */
void restart_after_handler(ThreadState& thread, ThreadTransaction* target, ucontext_t* interrupted);

} // namespace stm::library

extern "C" {
// In transaction_start.S, and called from there.
[[noreturn]] void stm_library_resume(stm::library::ThreadTransaction* transaction);
int stm_library_restarted(stm::library::ThreadTransaction* transaction);
int stm_library_start(int fd, stm::library::StartKind kind,
                      const stm::library::Registers* registers);
}
