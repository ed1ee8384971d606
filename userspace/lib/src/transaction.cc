// SPDX-License-Identifier: LGPL-2.1-or-later
// The end of a transaction, several accesses in one call, and what delays a restart.
#include "aborts.hpp"
#include "at_once.hpp"
#include "futile.hpp"
#include "offer.hpp"
#include "thread_state.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <stm/access.h>
#include <stm/ioctl.h>
#include <stm/transaction.h>
#include <sys/ioctl.h>

using namespace stm::library;

namespace {

/** The request that ends the innermost part. */
class End {
public:
    End() = default;
    explicit End(stm_vector* vector) : vector_(vector) {}
    [[nodiscard]] bool has_accesses() const { return vector_ != nullptr; }
    /** 0, or why not. */
    [[nodiscard]] int request(int fd) const {
        const int result = vector_ == nullptr ? ::ioctl(fd, STM_IOC_COMMIT, 0)
                                              : ::ioctl(fd, STM_IOC_VECTOR, vector_);
        return result == 0 ? 0 : errno;
    }
    /** The same for a part of which the kernel does not know. What it does is refused, as all that
     * the doomed transaction around it does. */
    [[nodiscard]] int request_without_end(int fd) const {
        if (vector_ == nullptr)
            return 0;
        vector_->flags &= ~static_cast<unsigned>(STM_VECTOR_COMMIT);
        return request(fd);
    }
    /** After an error: also a request that was refused, and so changed nothing, ends the part,
     * which was at that depth. */
    void make_sure(int fd, int depth, int error) const {
        if (vector_ == nullptr || error == EAGAIN)
            return;
        stm_transaction now = {};
        now.size = sizeof(now);
        if (::ioctl(fd, STM_IOC_TRANSACTION, &now) == 0 && static_cast<int>(now.depth) == depth)
            ::ioctl(fd, STM_IOC_CANCEL, 0);
    }

private:
    stm_vector* vector_ = nullptr; // accesses that come before; null: there are none
};

// 0, or why not. `given`: what the request to end it has said; kNotAsked: there was none yet.
constexpr int kNotAsked = -1;
int commit(ThreadState& thread, ThreadTransaction* transaction, int fd, End end, int given) {
    if (transaction != nullptr && transaction->phantoms > 0) {
        --transaction->phantoms;
        return end.request_without_end(fd);
    }
    const bool is_over = given == kNotAsked && transaction != nullptr && transaction->depth == 1 &&
                         !end.has_accesses() && end_by_offer(*transaction);
    const int asked = given == kNotAsked && !is_over ? end.request(fd) : given;
    const int error = is_over ? 0 : asked;
    if (transaction == nullptr) {
        if (error == 0)
            thread.look(); // a transaction whose number is closed is over
        else
            end.make_sure(fd, 1, error);
        return error;
    }
    if (error != 0)
        end.make_sure(transaction->fd, transaction->depth, error);
    if (transaction->depth > 1) {
        if (error == 0)
            --transaction->depth;
        else if (error == EAGAIN && !thread.is_held())
            restart(thread);
        else
            thread.correct_depth(transaction);
        return error;
    }
    thread.remove_running(transaction);
    if (error == 0)
        transaction->deadlocks = 0;
    else if (error == EDEADLK)
        restart_deadlocked(thread, fd);
    transaction->attempts = error == 0 ? 0 : transaction->attempts + 1;
    if (error == EAGAIN && reports_aborts())
        note_abort(fd, transaction->attempts, transaction->registers.rip);
    return error;
}

enum class Teller { stm_commit, stm_try_commit };

int commit_and_tell(int fd, Teller teller, End end = {}, int given = kNotAsked) {
    ThreadState* const thread = ThreadState::current();
    int error = 0;
    ThreadTransaction* transaction = nullptr;
    if (thread == nullptr) { // the program made a transaction by system calls, or none
        error = end.request(fd);
        if (error != 0)
            end.make_sure(fd, 1, error);
    } else {
        const Section section(*thread);
        transaction = thread->running_on(fd);
        error = commit(*thread, transaction, fd, end, given);
        if (transaction == nullptr)
            transaction = thread->find(fd);
    }
    if (error == 0)
        forget_futile_commits(transaction);
    else if (error != EAGAIN && teller == Teller::stm_commit)
        count_futile_commit(transaction, fd, error);
    if (error != 0)
        errno = error;
    return error;
}

// What end_at_once() has not done. 0, or why not.
[[gnu::noinline]] int commit_by_call(ThreadState* thread, ThreadState::AtOnce at_once, int fd,
                                     Teller teller) {
    if (at_once.what == ThreadState::AtOnce::left)
        return commit_and_tell(fd, teller);
    int error = 0;
    if (::ioctl(fd, STM_IOC_COMMIT, 0) == 0) [[likely]] {
        thread->end_alone(*at_once.transaction);
        count_start(); // something was committed
    } else {
        error = commit_and_tell(fd, teller, {}, errno);
    }
    thread->leave_last();
    return error;
}

int result_of_try(int error) {
    if (error == 0)
        return 0;
    return error == EAGAIN ? 1 : -1;
}

// The pieces go to the kernel as they are.
static_assert(sizeof(stm_piece) == sizeof(stm_vector_piece) &&
              offsetof(stm_piece, offset) == offsetof(stm_vector_piece, offset) &&
              offsetof(stm_piece, memory) == offsetof(stm_vector_piece, address) &&
              offsetof(stm_piece, bytes) == offsetof(stm_vector_piece, bytes) &&
              offsetof(stm_piece, flags) == offsetof(stm_vector_piece, flags) &&
              STM_PIECE_IS_WRITTEN == STM_PIECE_WRITE);

stm_vector vector_of(const stm_piece* pieces, unsigned count, unsigned flags) {
    stm_vector vector = {};
    vector.size = sizeof(vector);
    vector.flags = flags;
    vector.pieces = reinterpret_cast<std::uintptr_t>(pieces);
    vector.count = count;
    return vector;
}

} // namespace

int stm_commit(int fd) {
    ThreadState* const thread = ThreadState::current();
    ThreadState::AtOnce ended{ThreadState::AtOnce::left, nullptr};
    if (thread != nullptr) [[likely]]
        ended = thread->end_at_once(fd, __builtin_frame_address(0));
    if (ended.what == ThreadState::AtOnce::done) [[likely]]
        return 0;
    return commit_by_call(thread, ended, fd, Teller::stm_commit) == 0 ? 0 : 1;
}

int stm_try_commit(int fd) {
    ThreadState* const thread = ThreadState::current();
    ThreadState::AtOnce ended{ThreadState::AtOnce::left, nullptr};
    if (thread != nullptr) [[likely]]
        ended = thread->end_at_once(fd, __builtin_frame_address(0));
    if (ended.what == ThreadState::AtOnce::done) [[likely]]
        return 0;
    return result_of_try(commit_by_call(thread, ended, fd, Teller::stm_try_commit));
}

int stm_access(int fd, const struct stm_piece* pieces, unsigned count) {
    stm_vector vector = vector_of(pieces, count, 0);
    return ::ioctl(fd, STM_IOC_VECTOR, &vector);
}

int stm_begin_access(int fd, const struct stm_piece* pieces, unsigned count) {
    stm_vector vector = vector_of(pieces, count, STM_VECTOR_BEGIN);
    return ::ioctl(fd, STM_IOC_VECTOR, &vector);
}

int stm_access_and_commit(int fd, const struct stm_piece* pieces, unsigned count) {
    stm_vector vector = vector_of(pieces, count, STM_VECTOR_COMMIT);
    return result_of_try(commit_and_tell(fd, Teller::stm_try_commit, End(&vector)));
}

void stm_cancel(int fd) {
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr) {
        ::ioctl(fd, STM_IOC_CANCEL, 0);
        return;
    }
    Section section(*thread);
    ThreadTransaction* transaction = thread->running_on(fd);
    if (transaction != nullptr && transaction->phantoms > 0) {
        --transaction->phantoms;
        return;
    }
    const int result = ::ioctl(fd, STM_IOC_CANCEL, 0);
    if (transaction == nullptr)
        return;
    if (result < 0) {
        int error = errno;
        thread->correct_depth(transaction);
        errno = error;
    } else if (transaction->depth > 1) {
        --transaction->depth;
    } else {
        thread->remove_running(transaction);
        transaction->attempts = 0;
        transaction->deadlocks = 0;
    }
}

int stm_validate(int fd) {
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr)
        return ::ioctl(fd, STM_IOC_VALIDATE, 0);
    Section section(*thread);
    return ::ioctl(fd, STM_IOC_VALIDATE, 0);
}

void stm_defer_restarts(void) {
    ThreadState::hold();
}

void stm_allow_restarts(void) {
    ThreadState::release();
}
