// SPDX-License-Identifier: LGPL-2.1-or-later
#include "thread_state.hpp"

#include "aborts.hpp"
#include "give_up.hpp"
#include "same_file.hpp"
#include "sanitizers.hpp"

#include <cerrno>
#include <new>
#include <pthread.h>
#include <stm/ioctl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <utility>

namespace stm::library {
namespace {

// How often the program holds restarts back in a thread without a state. So stm_defer_restarts()
// needs no memory.
[[gnu::tls_model("initial-exec")]] constinit thread_local int held_before_state = 0;

pthread_key_t at_exit_key;
pthread_once_t at_exit_once = PTHREAD_ONCE_INIT;
bool has_key = false;

constexpr std::size_t kFirstCapacity = 64;
constexpr std::size_t kChunkBytes = 4096;
static_assert(sizeof(Cell) == sizeof(struct stm_warm_cell) &&
              offsetof(Cell, begun) == offsetof(struct stm_warm_cell, begun) &&
              offsetof(Cell, snapshot) == offsetof(struct stm_warm_cell, snapshot) &&
              offsetof(Cell, ended) == offsetof(struct stm_warm_cell, ended) &&
              std::atomic<std::uint64_t>::is_always_lock_free);

void* map(std::size_t size) {
    void* memory =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
}

// Whether the kernel may still use it, for some handle.
bool is_known(const Cell& cell) {
    return cell.offer.load(std::memory_order_acquire) != 0;
}

} // namespace

struct Chunk {
    static constexpr std::size_t kTransactions =
        (kChunkBytes - sizeof(void*)) / sizeof(ThreadTransaction);
    Chunk* next;
    ThreadTransaction transactions[kTransactions];
};
static_assert(sizeof(Chunk) <= kChunkBytes);

constinit thread_local ThreadState* this_thread = nullptr;

ThreadState* ThreadState::current_or_new() {
    if (this_thread != nullptr)
        return this_thread;
    pthread_once(&at_exit_once, make_key);
    void* memory = map(sizeof(ThreadState));
    if (memory == nullptr)
        return nullptr;
    auto* state = new (memory) ThreadState();
    if (state->grow() < 0) {
        ::munmap(memory, sizeof(ThreadState));
        return nullptr;
    }
    // Without a key the memory is not freed when the thread ends. Nothing else depends on the key.
    if (has_key)
        pthread_setspecific(at_exit_key, state);
    state->stack_ = Stack::of_thread();
    state->held_ = std::exchange(held_before_state, 0);
    fence();
    this_thread = state;
    return state;
}

void ThreadState::make_key() {
    has_key = pthread_key_create(&at_exit_key, at_thread_exit) == 0;
}

void ThreadState::at_thread_exit(void* state) {
    this_thread = nullptr;
    fence();
    static_cast<ThreadState*>(state)->destroy();
}

void ThreadState::destroy() {
    forget_conflicts();
    for (Chunk* chunk = chunks_; chunk != nullptr;) {
        Chunk* next = chunk->next;
        for (const ThreadTransaction& transaction : chunk->transactions)
            if (transaction.way_back != nullptr)
                ::munmap(transaction.way_back, sizeof *transaction.way_back);
        ::munmap(chunk, sizeof(Chunk));
        chunk = next;
    }
    ::munmap(table_, capacity_ * sizeof(ThreadTransaction*));
    if (cells_ != nullptr)
        ::munmap(cells_, kCellBytes);
    ::munmap(this, sizeof(ThreadState));
}

void ThreadState::forget_transactions() {
    ThreadState* state = this_thread;
    if (state == nullptr)
        return;
    state->forget_running();
    state->noticed_ = false;
    state->held_ = 0;
    state->leave_at_once();
}

ThreadTransaction** ThreadState::slot_of(ThreadTransaction** table, std::size_t capacity,
                                         int fd) const {
    // Descriptors are small and dense, so they are their own hash.
    std::size_t index = static_cast<unsigned>(fd) & (capacity - 1);
    while (table[index] != nullptr && table[index]->fd != fd)
        index = (index + 1) & (capacity - 1);
    return &table[index];
}

ThreadTransaction* ThreadState::find_in_table(int fd) {
    ThreadTransaction* found = *slot_of(table_, capacity_, fd);
    if (found != nullptr)
        recent_ = found;
    return found;
}

ThreadTransaction* ThreadState::find_running(int fd) {
    ThreadTransaction* const own = find(fd);
    const bool runs = own != nullptr && own->depth != 0;
    // The number may be a duplicate of another one, or dup2 may have made it one.
    if (!runs || runs_several())
        for (ThreadTransaction* transaction = first_; transaction != nullptr;
             transaction = transaction->next)
            if (transaction != own && is_same_file(transaction->fd, fd))
                return transaction;
    return runs ? own : nullptr;
}

ThreadTransaction* ThreadState::add(int fd) {
    if (2 * (count_ + 1) > capacity_ && grow() < 0)
        return nullptr;
    ThreadTransaction* transaction = new_transaction();
    if (transaction == nullptr)
        return nullptr;
    transaction->fd = fd;
    *slot_of(table_, capacity_, fd) = transaction;
    ++count_;
    recent_ = transaction;
    return transaction;
}

int ThreadState::grow() {
    std::size_t larger = capacity_ == 0 ? kFirstCapacity : capacity_ * 2;
    auto** table = static_cast<ThreadTransaction**>(map(larger * sizeof(ThreadTransaction*)));
    if (table == nullptr)
        return -1;
    for (std::size_t index = 0; index < capacity_; ++index)
        if (table_[index] != nullptr)
            *slot_of(table, larger, table_[index]->fd) = table_[index];
    if (table_ != nullptr)
        ::munmap(table_, capacity_ * sizeof(ThreadTransaction*));
    table_ = table;
    capacity_ = larger;
    return 0;
}

ThreadTransaction* ThreadState::new_transaction() {
    if (free_in_chunk_ == 0) {
        auto* chunk = static_cast<Chunk*>(map(sizeof(Chunk)));
        if (chunk == nullptr)
            return nullptr;
        chunk->next = chunks_;
        chunks_ = chunk;
        free_in_chunk_ = Chunk::kTransactions;
    }
    return &chunks_->transactions[--free_in_chunk_];
}

// A copy of the memory, such as the child of a fork has, contains zeros here: the kernel offers
// nothing to it.
Cell* ThreadState::cell_of(ThreadTransaction* transaction, unsigned closes) {
    // The handle that had the number before may still know the words. Then they belong to it until
    // it has forgotten them.
    if (transaction->closes != closes && transaction->cell != nullptr &&
        is_known(*transaction->cell)) {
        is_taken_[transaction->cell - cells_] = false;
        transaction->cell = nullptr;
    }
    transaction->closes = closes;
    if (transaction->cell != nullptr || has_no_cells_)
        return transaction->cell;
    if (cells_ == nullptr) {
        void* page = map(kCellBytes);
        if (page == nullptr || ::madvise(page, kCellBytes, MADV_WIPEONFORK) < 0) {
            if (page != nullptr)
                ::munmap(page, kCellBytes);
            has_no_cells_ = true;
            return nullptr;
        }
        cells_ = static_cast<Cell*>(page);
    }
    for (std::size_t index = 0; index < kCells; ++index) {
        if (is_taken_[index] || is_known(cells_[index]))
            continue;
        is_taken_[index] = true;
        transaction->cell = &cells_[index];
        break;
    }
    return transaction->cell;
}

void ThreadState::add_running(ThreadTransaction* transaction) {
    transaction->held = held_;
    transaction->next = nullptr;
    transaction->previous = last_;
    (last_ != nullptr ? last_->next : first_) = transaction;
    last_ = transaction;
}

void ThreadState::remove_running(ThreadTransaction* transaction) {
    if (transaction->depth == 0)
        return;
    (transaction->previous != nullptr ? transaction->previous->next : first_) = transaction->next;
    (transaction->next != nullptr ? transaction->next->previous : last_) = transaction->previous;
    transaction->depth = 0;
    transaction->phantoms = 0;
    transaction->goes_on = false;
    // The kernel clears it when it learns of the transaction. It has not, and will not.
    if (transaction->cell != nullptr &&
        transaction->cell->begun.load(std::memory_order_relaxed) != 0)
        transaction->cell->begun.store(0, std::memory_order_relaxed);
}

void ThreadState::correct_depth(ThreadTransaction* transaction) {
    struct stm_transaction now {};
    now.size = sizeof now;
    if (::ioctl(transaction->fd, STM_IOC_TRANSACTION, &now) < 0 || now.depth == 0)
        remove_running(transaction);
    else
        transaction->depth = static_cast<int>(now.depth);
}

Doom ThreadState::look() {
    Doom result = Doom::none;
    ThreadTransaction* next = nullptr;
    for (ThreadTransaction* transaction = first_; transaction != nullptr; transaction = next) {
        next = transaction->next;
        if (::ioctl(transaction->fd, STM_IOC_VALIDATE, 0) == 0 || errno == EINTR)
            continue;
        if (errno == EAGAIN) {
            result = Doom::doomed;
        } else if (errno == EBADF || errno == ENOTTY || errno == EINVAL) {
            // The descriptor was closed, or the program ended the transaction by a system call of
            // its own.
            remove_running(transaction);
        } else {
            failure_ = errno;
            if (result == Doom::none)
                result = Doom::failed;
        }
    }
    return first_ != nullptr ? result : Doom::none;
}

bool ThreadState::go_on() {
    bool first = false;
    for (ThreadTransaction* transaction = first_; transaction != nullptr;
         transaction = transaction->next) {
        if (transaction->goes_on ||
            ::ioctl(transaction->fd, STM_IOC_VALIDATE, STM_VALIDATE_GO_ON) == 0 || errno != EAGAIN)
            continue;
        transaction->goes_on = true;
        first = true;
    }
    return first;
}

void ThreadState::undo_others(const ThreadTransaction* but) {
    for (ThreadTransaction* transaction = first_; transaction != nullptr;
         transaction = transaction->next)
        if (transaction != but &&
            ::ioctl(transaction->fd, STM_IOC_CANCEL, STM_CANCEL_ALL | STM_CANCEL_KEEP) < 0 &&
            errno == EINVAL)
            ::ioctl(transaction->fd, STM_IOC_CANCEL, STM_CANCEL_ALL); // an older module
}

void ThreadState::forget_running() {
    while (first_ != nullptr)
        remove_running(first_);
}

void ThreadState::cancel_others(const ThreadTransaction* but) {
    ThreadTransaction* next = nullptr;
    for (ThreadTransaction* transaction = first_; transaction != nullptr; transaction = next) {
        next = transaction->next;
        if (transaction == but)
            continue;
        ::ioctl(transaction->fd, STM_IOC_CANCEL, STM_CANCEL_ALL);
        remove_running(transaction);
    }
}

void ThreadState::leave_at_once() {
    fence();
    busy_ = 0;
    fence();
}

void ThreadState::act_on_notices() {
    int error = errno;
    while (noticed_) {
        busy_ = 1;
        noticed_ = false;
        fence();
        if (look() == Doom::doomed)
            restart(*this);
        leave_at_once(); // then look for a notice again: one may have come just before
    }
    errno = error;
}

void ThreadState::hold() {
    int volatile& held = this_thread != nullptr ? this_thread->held_ : held_before_state;
    held = held + 1;
    fence();
}

void ThreadState::release() {
    if (this_thread != nullptr)
        this_thread->release_own();
    else if (held_before_state > 0)
        --held_before_state;
}

void ThreadState::add_phantom(ThreadTransaction* transaction) {
    ++transaction->phantoms;
    noticed_ = true; // the restart happens when it is allowed
}

void ThreadState::release_own() {
    if (held_ == 0)
        return;
    enter(__builtin_frame_address(0));
    held_ = held_ - 1;
    leave();
}

std::uintptr_t ThreadState::programs_stack() const {
    // The saved frame pointer and the return address lie between the two.
    return reinterpret_cast<std::uintptr_t>(busy_frame_) + 2 * sizeof(void*);
}

void ThreadState::begin_restart(const ThreadTransaction* target, std::uintptr_t now) {
    if (stack_.has_left(target->registers.rsp, now))
        give_up("stm: the transaction must begin again, but the function that called stm_start(%d) "
                "has returned: call it in the function that calls stm_commit, not in one of its "
                "own or in a constructor\n",
                target->fd);
    busy_ = 1;
    // As if the program had called a function from there, because another restart may come.
    busy_frame_ = reinterpret_cast<const void*>(target->registers.rsp - 2 * sizeof(void*));
    held_ = target->held; // later calls of stm_defer_restarts() are undone, too
    noticed_ = false;
    fence();
    tell_of_left_frames(now, target->registers.rsp);
}

void restart(ThreadState& thread) {
    ThreadTransaction* target = thread.outermost();
    thread.begin_restart(target, thread.programs_stack());
    stm_library_resume(target);
}

void restart_deadlocked(ThreadState& thread, int fd) {
    constexpr unsigned kMost = 4;
    ThreadTransaction* const outermost = thread.outermost();
    if (outermost == nullptr || thread.is_held())
        return;
    if (outermost->deadlocks++ >= kMost) {
        outermost->failure = EDEADLK;
        outermost->deadlocked_by = fd;
    }
    restart(thread);
}

void restart_after_handler(ThreadState& thread, ThreadTransaction* target,
                           ucontext_t* interrupted) {
    constexpr greg_t kDirectionFlag = 0x400;
    greg_t* registers = interrupted->uc_mcontext.gregs;
    thread.begin_restart(target, static_cast<std::uintptr_t>(registers[REG_RSP]));
    registers[REG_RIP] = reinterpret_cast<greg_t>(&stm_library_resume);
    registers[REG_RDI] = reinterpret_cast<greg_t>(target);
    registers[REG_RSP] = static_cast<greg_t>(target->registers.rsp);
    registers[REG_EFL] &= ~kDirectionFlag;
}

} // namespace stm::library
