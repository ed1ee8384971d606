// SPDX-License-Identifier: LGPL-2.1-or-later
// What a thread knows about its transactions: where to go back to, for each descriptor.
//
// Only the thread itself, and signal handlers that interrupt it, touch its state; there is no lock.
// While library code changes it, the thread is inside of a Section: a signal handler that finds it
// there does not look at the state; it leaves a note, and the section's end acts on it. Outside of
// sections the state is whole, and a handler may send the thread back to stm_start from wherever
// it is.
//
// Memory comes from mmap when a descriptor is first used by stm_start, never in a handler.
#pragma once

#include "stack.hpp"

#include <atomic>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <ucontext.h>

namespace stm::library {

/** What stm_start saves of its caller. The layout is known to transaction_start.S. */
struct Registers {
    std::uint64_t rbx, rbp, r12, r13, r14, r15;
    std::uint64_t rsp; // after the return
    std::uint64_t rip; // where it returns to
    std::uint32_t mxcsr;
    std::uint32_t x87_control;
    std::uint64_t shadow_stack; // 0: none
};
static_assert(offsetof(Registers, rsp) == 48 && offsetof(Registers, mxcsr) == 64 &&
              offsetof(Registers, shadow_stack) == 72 && sizeof(Registers) == 80);

/** Which function began the transaction, and so can or cannot report an error. */
enum class StartKind : int { start = 0, try_start = 1 };

/**
 * Where the kernel offers a start that needs no system call: struct stm_start_cell, as this thread
 * and the kernel use it. It stays where it is for the thread's life.
 */
struct Cell {
    std::atomic<std::uint64_t> offer;
    std::atomic<std::uint64_t> begun;
};

constexpr std::size_t kCellBytes = 4096;
constexpr std::size_t kCells = kCellBytes / sizeof(Cell);

/** Commits in a row that failed for a reason that does not go away by itself, though the program
 * tries again: see futile.hpp. */
struct Futile {
    unsigned count;
    int error;
    std::uint64_t site; // where stm_start returned to
};

/**
 * A thread's transaction that was begun by one descriptor's number. The transaction itself belongs
 * to the open file, which can have other numbers: see ThreadState::running_on(). It stays where it
 * is for the thread's life.
 */
struct ThreadTransaction {
    Registers registers; // first: stm_library_resume() takes a ThreadTransaction for it
    // What setjmp saved when it began, for the thread sanitizer: see sanitizers.hpp. Null: nothing.
    std::jmp_buf* way_back;
    ThreadTransaction* next; // the running ones, in the order of their start
    ThreadTransaction* previous;
    int fd;
    int depth;    // 0: none runs
    int phantoms; // parts within the innermost of these that only the program knows: see
                  // add_phantom
    bool goes_on; // although it is doomed: see go_on()
    int held;     // what held restarts back when it began
    StartKind kind;
    unsigned attempts;  // that failed, in a row
    unsigned limit;     // of attempts; 0: none
    int failure;        // why it is to end instead of being restarted; 0: it is not
    int deadlocked_by;  // the number whose request would have waited for it, with EDEADLK
    unsigned deadlocks; // restarts in a row because of that
    Futile futile;
    Cell* cell;        // null: it has none
    unsigned closes;   // of the number, before it was given the cell
    unsigned detached; // system calls to start, in a row, while the kernel did not know the cell
};
static_assert(offsetof(ThreadTransaction, registers) == 0 &&
              offsetof(ThreadTransaction, way_back) == 80);

/** What the kernel says of a thread's transactions: they can commit, should be tried again, or can
 * not go on because of the system's limits or memory. */
enum class Doom { none, doomed, failed };

struct Chunk;
class ThreadState;

// Of the initial-exec model: a signal handler reads it, and any other model may allocate memory at
// the first use in a thread.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ThreadState* this_thread;

// What is short and part of each transaction is here, so that it costs no call.
class ThreadState {
public:
    /** The calling thread's; null when it has none yet. For signal handlers too. */
    static ThreadState* current() { return this_thread; }
    /** The calling thread's, made if need be; null with errno ENOMEM. */
    static ThreadState* current_or_new();
    /** In the child of a fork: the kernel knows no transaction of this thread. */
    static void forget_transactions();

    /** The transaction of a descriptor's number, O(1); null when there is none. */
    ThreadTransaction* find(int fd) { return is_recent(fd) ? recent_ : find_in_table(fd); }
    /** The running transaction on the open file that a descriptor stands for, by whatever number it
     * was begun; null when none is known. */
    ThreadTransaction* running_on(int fd) {
        if (is_recent(fd) && recent_->depth != 0 && !runs_several())
            return recent_;
        return find_running(fd);
    }
    /** As find(), but made if need be; null with errno ENOMEM. */
    ThreadTransaction* find_or_add(int fd) {
        ThreadTransaction* const found = find(fd);
        return found != nullptr ? found : add(fd);
    }

    [[nodiscard]] bool is_running() const { return first_ != nullptr; }
    /** The transaction that was started first: where a restart goes. Null: none runs. */
    [[nodiscard]] ThreadTransaction* outermost() const { return first_; }
    /** The transaction's cell, given to it if need be; null: there is none. `closes`: of its
     * descriptor's number, before a transaction began on what has the number now. */
    Cell* cell_of(ThreadTransaction* transaction, unsigned closes);
    /** Whether more than one transaction runs. */
    [[nodiscard]] bool runs_several() const { return first_ != last_; }
    void add_running(ThreadTransaction* transaction);
    void remove_running(ThreadTransaction* transaction);

    /** After an error of which it is not certain whether the transaction survived: what the kernel
     * says. */
    void correct_depth(ThreadTransaction* transaction);

    /** Whether a running transaction cannot commit, as the kernel says; those that are gone are
     * removed. */
    Doom look();
    /** The error because of which look() said `failed`. */
    [[nodiscard]] int failure() const { return failure_; }
    /** Has the kernel give the doomed ones what they load, though it may be of any time. Whether
     * that is news for one of them. */
    bool go_on();
    /** Undoes all running transactions but one (null: all). What the program does with their
     * handles fails until it commits, cancels or starts there. */
    void undo_others(const ThreadTransaction* but);
    /** Forgets all that run. */
    void forget_running();
    /** Ends all running transactions but one (null: all). */
    void cancel_others(const ThreadTransaction* but);

    // Sections. `busy` and `noticed` are written by the thread and its signal handlers.
    void enter(const void* frame) {
        // The stack of an earlier section that is still open has been given up: its signal handler
        // has left it by longjmp.
        if (busy_ > 0 && frame > busy_frame_)
            busy_ = 0;
        if (busy_ == 0)
            busy_frame_ = frame;
        busy_ = busy_ + 1;
        fence();
    }
    /** Leaves the section and, if a notice came meanwhile and is true, restarts. */
    void leave() {
        fence();
        busy_ = busy_ - 1;
        fence();
        if (noticed_ && !is_busy()) [[unlikely]]
            act_on_notices();
    }
    /** Whether a restart has to wait. */
    [[nodiscard]] bool is_busy() const { return busy_ > 0 || held_ > 0; }
    /** For the program: as a section, but one that ends when the program says so. It may be the
     * first thing that the thread does. */
    static void hold();
    static void release();
    [[nodiscard]] bool is_held() const { return held_ > 0; }
    [[nodiscard]] bool is_in_section() const { return busy_ > 0; }
    /** A part begins that does not exist for the kernel: the transaction cannot commit, and the
     * program, which cannot be told so yet, will end the part as any other. */
    void add_phantom(ThreadTransaction* transaction);
    void notice_later() { noticed_ = true; }
    void forget_notice() { noticed_ = false; }
    [[nodiscard]] bool has_notice() const { return noticed_; }
    /** Whether the function that began the outermost transaction has returned, now that the
     * program's stack pointer is `now`. */
    [[nodiscard]] bool has_left(std::uintptr_t now) const {
        return first_ != nullptr && stack_.has_left(first_->registers.rsp, now);
    }
    /** Ends whatever section there is, to restart: the thread is busy until it has. Gives up if
     * that is not possible, with the program's stack pointer as it is. */
    void begin_restart(const ThreadTransaction* target, std::uintptr_t now);
    /** The program's stack pointer when it called what began the section. */
    [[nodiscard]] std::uintptr_t programs_stack() const;
    /** Leaves all sections without looking at notices. */
    void leave_at_once();

private:
    // What is written to memory before it must be there when a signal handler looks, and the other
    // way round.
    static void fence() { std::atomic_signal_fence(std::memory_order_seq_cst); }
    void act_on_notices();

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
    bool is_taken_[kCells]; // by a transaction
};

/** A stretch of library code in which the thread's state may be half changed. */
class Section {
public:
    explicit Section(ThreadState& thread) : thread_(thread) {
        thread_.enter(__builtin_frame_address(0));
    }
    ~Section() { thread_.leave(); }
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;

private:
    ThreadState& thread_;
};

/** Goes back to the thread's outermost stm_start. Some transaction must run. */
[[noreturn]] void restart(ThreadState& thread);
/**
 * The same, after EDEADLK: what was begun by another number, on the same region, would wait for the
 * outermost transaction, which may not need the serial token next time. A few times only: then that
 * one fails. Returns where no restart may be.
 */
void restart_deadlocked(ThreadState& thread, int fd);
/** As restart(), by changing where a signal handler returns to. */
void restart_after_handler(ThreadState& thread, ThreadTransaction* target, ucontext_t* interrupted);

} // namespace stm::library

extern "C" {
// In transaction_start.S, and called from there.
[[noreturn]] void stm_library_resume(stm::library::ThreadTransaction* transaction);
int stm_library_restarted(stm::library::ThreadTransaction* transaction);
int stm_library_start(int fd, stm::library::StartKind kind,
                      const stm::library::Registers* registers);
}
