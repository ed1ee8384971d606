// SPDX-License-Identifier: GPL-2.0
// System V's semaphore and shared memory. A process that dies gives the semaphore back (SEM_UNDO),
// and leaves the data as they are.
#include "plain_words.hpp"
#include "way.hpp"

#include <cerrno>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <system_error>

namespace stm::bench {
namespace {

int must(int result, const char* what) {
    if (result < 0)
        throw std::system_error(errno, std::generic_category(), what);
    return result;
}

class Semaphore {
public:
    Semaphore()
        : memory_(must(::shmget(IPC_PRIVATE, kBytes, 0600), "shmget")),
          semaphore_(must(::semget(IPC_PRIVATE, 1, 0600), "semget")) {
        words_ = static_cast<long*>(::shmat(memory_, nullptr, 0));
        // Gone with the last process.
        must(::shmctl(memory_, IPC_RMID, nullptr), "shmctl");
        unlock();
    }
    ~Semaphore() {
        ::shmdt(words_);
        ::semctl(semaphore_, 0, IPC_RMID);
    }
    Semaphore(const Semaphore&) = delete;
    Semaphore& operator=(const Semaphore&) = delete;

    void lock() { change(-1); }
    void unlock() { change(1); }
    long* memory() { return words_; }

private:
    void change(short by) {
        sembuf operation{0, by, SEM_UNDO};
        while (::semop(semaphore_, &operation, 1) < 0)
            if (errno != EINTR)
                must(-1, "semop");
    }

    int memory_;
    int semaphore_;
    long* words_ = nullptr;
};

} // namespace

std::unique_ptr<Contestant> make_semaphore() {
    return std::make_unique<ContestantOf<Locked<Semaphore>>>();
}

} // namespace stm::bench
