// SPDX-License-Identifier: GPL-2.0
// Between stm_defer_restarts and stm_allow_restarts nothing is left in the middle: not by calls,
// not in parts, not by loads and stores in mappings; and what was due comes in stm_allow_restarts.
#include "death.hpp"
#include "faults.hpp"
#include "transactions.hpp"

#include <sys/mman.h>
#include <thread>

using namespace stm::test;

namespace {

class Defer : public Transactions {
protected:
    // What each of the transactions below reads first and, after others have changed it, reads on.
    void change_in_another_process() {
        EXPECT_EQ(Child::doing([&] {
                      Fd handle = another();
                      do {
                          stm_start(handle.get());
                          put(handle.get(), get(handle.get()) + 1);
                          put(handle.get(), get(handle.get(), kPage) + 1, kPage);
                      } while (stm_commit(handle.get()) != 0);
                      return 0;
                  }).wait(),
                  0);
    }

    long read_on() {
        long value = -1;
        const ssize_t got = ::pread(fd(), &value, sizeof value, kPage);
        return got < 0 ? -errno : value;
    }

    volatile long* map() {
        void* place = ::mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd(), 0);
        EXPECT_NE(place, MAP_FAILED);
        return static_cast<volatile long*>(place);
    }

    volatile int attempts_ = 0;
    volatile int inside_ = 0; // of what must not be left
    volatile int left_ = 0;   // how often that happened

    void begin_attempt() {
        attempts_ = attempts_ + 1;
        left_ = left_ + inside_;
        inside_ = 0;
    }
    void hold() {
        stm_defer_restarts();
        inside_ = 1;
    }
    void release() {
        inside_ = 0;
        stm_allow_restarts();
    }
};

TEST_F(Defer, HoldsAsTheFirstCallOfAThread) {
    std::thread([&] {
        stm_defer_restarts();
        stm_start(fd());
        begin_attempt();
        inside_ = 1;
        get(fd());
        if (attempts_ == 1) {
            change_in_another_process();
            EXPECT_EQ(read_on(), -EAGAIN);
            EXPECT_EQ(attempts_, 1);
        }
        release();
        EXPECT_EQ(attempts_, 2) << "it was due";
        EXPECT_EQ(read_on(), 1);
        EXPECT_EQ(stm_commit(fd()), 0);
    }).join();
    EXPECT_EQ(left_, 0);
}

TEST_F(Defer, AReleaseAsTheFirstCallOfAThreadDoesNothing) {
    std::thread([&] {
        stm_allow_restarts();
        stm_defer_restarts();
        stm_allow_restarts();
        stm_start(fd());
        begin_attempt();
        get(fd());
        if (attempts_ == 1) {
            stm_defer_restarts();
            change_in_another_process();
            EXPECT_EQ(read_on(), -EAGAIN);
            stm_allow_restarts();
            ADD_FAILURE() << "not held any more, so it restarts";
        }
        EXPECT_EQ(stm_commit(fd()), 0);
    }).join();
    EXPECT_EQ(attempts_, 2);
}

TEST_F(Defer, ARestartLeavesHeldWhatWasHeldAtTheStart) {
    stm_defer_restarts();
    stm_start(fd());
    begin_attempt();
    stm_defer_restarts();
    if (attempts_ == 1)
        stm_retry(fd());
    get(fd());
    stm_allow_restarts();
    inside_ = 1;
    if (attempts_ == 2) {
        change_in_another_process();
        EXPECT_EQ(read_on(), -EAGAIN) << "the first one still holds";
    }
    release();
    EXPECT_EQ(attempts_, 3);
    EXPECT_EQ(left_, 0);
    EXPECT_EQ(stm_commit(fd()), 0);
}

// A function of a library, which does not know where it is called.
void store_item(int fd, long value) {
    do {
        stm_start(fd);
        (void)!::pwrite(fd, &value, sizeof value, 2 * kPage);
    } while (stm_commit(fd) != 0);
}

TEST_F(Defer, HoldsWhenAPartBeginsOnDoomedData) {
    for (const bool noticed : {false, true}) {
        attempts_ = 0;
        do {
            stm_start(fd());
            begin_attempt();
            hold();
            const long value = get(fd());
            if (attempts_ == 1) {
                change_in_another_process();
                if (noticed) {
                    EXPECT_EQ(read_on(), -EAGAIN);
                }
            }
            store_item(fd(), value);
            if (attempts_ == 1 && noticed) {
                EXPECT_EQ(stm_try_start(fd()), 0);
                EXPECT_EQ(read_on(), -EAGAIN);
                stm_cancel(fd());
                EXPECT_EQ(transaction(fd()).depth, 1u);
            }
            release();
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts_, 2);
        EXPECT_EQ(left_, 0);
        EXPECT_EQ(get(fd(), 2 * kPage), get(fd()));
    }
}

TEST_F(Defer, HoldsWhenAPartBeginsByADuplicate) {
    Fd other(::dup(fd()));
    do {
        stm_start(fd());
        begin_attempt();
        hold();
        get(fd());
        if (attempts_ == 1) {
            change_in_another_process();
            EXPECT_EQ(read_on(), -EAGAIN);
        }
        store_item(other.get(), 7);
        release();
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts_, 2);
    EXPECT_EQ(left_, 0);
    EXPECT_EQ(get(fd(), 2 * kPage), 7);
}

TEST_F(Defer, HoldsWhenATransactionOnAnotherHandleBegins) {
    Region second("second", kPage * 4, kTransactional);
    do {
        stm_start(fd());
        begin_attempt();
        hold();
        get(fd());
        if (attempts_ == 1) {
            change_in_another_process();
            EXPECT_EQ(read_on(), -EAGAIN);
        }
        store_item(second.fd(), attempts_);
        release();
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts_, 2);
    EXPECT_EQ(left_, 0);
    EXPECT_EQ(get(second.fd(), 2 * kPage), 2);
}

TEST_F(Defer, ACommitOfDoomedDataIsAConflict) {
    stm_start(fd());
    begin_attempt();
    hold();
    get(fd());
    change_in_another_process();
    EXPECT_EQ(read_on(), -EAGAIN);
    store_item(fd(), 7);
    EXPECT_EQ(stm_commit(fd()), 1);
    EXPECT_EQ(errno, EAGAIN);
    release();
    EXPECT_EQ(attempts_, 1);
    EXPECT_EQ(get(fd(), 2 * kPage), 0);
}

TEST_F(Defer, HoldsWhenAPageOfAMappingIsLoaded) {
    volatile long* const place = map();
    do {
        stm_start(fd());
        begin_attempt();
        hold();
        const long first = place[0];
        if (attempts_ == 1)
            change_in_another_process();
        const long second = place[kPage / 8]; // of another time
        place[2 * kPage / 8] = first + second;
        if (attempts_ == 1) {
            EXPECT_EQ(stm_validate(fd()), -1);
            EXPECT_EQ(errno, EAGAIN);
            EXPECT_EQ(second, 1) << "what was committed last";
            EXPECT_EQ(place[3 * kPage / 8], 0);
            place[3 * kPage / 8] = 9;
            EXPECT_EQ(place[3 * kPage / 8], 9);
        } else {
            EXPECT_EQ(first, second);
        }
        release();
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts_, 2);
    EXPECT_EQ(left_, 0);
    EXPECT_EQ(get(fd(), 2 * kPage), 2);
    EXPECT_EQ(get(fd(), 3 * kPage), 0) << "nothing of a doomed transaction is committed";
    EXPECT_EQ(place[kPage / 8], 1);
}

TEST_F(Defer, HoldsWhenAPageIsLoadedInAPart) {
    volatile long* const place = map();
    do {
        stm_start(fd());
        begin_attempt();
        hold();
        const long first = place[0];
        if (attempts_ == 1)
            change_in_another_process();
        stm_start(fd());
        place[kPage / 8] = first + 10;
        stm_cancel(fd());
        stm_start(fd());
        place[2 * kPage / 8] = place[kPage / 8];
        EXPECT_EQ(stm_commit(fd()), 0);
        release();
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts_, 2);
    EXPECT_EQ(left_, 0);
    EXPECT_EQ(get(fd(), 2 * kPage), 1);
}

TEST_F(Defer, AFaultWithDoomedDataIsTold) {
    volatile long* const place = map();
    const Death death = death_of([&] {
        stm_start(fd());
        hold();
        (void)place[0];
        change_in_another_process();
        if (place[kPage / 8] != place[0]) // two times
            fault_segv();
    });
    EXPECT_EQ(death.signal, SIGSEGV);
    EXPECT_NE(death.said.find("stm_validate"), std::string::npos) << death.said;
}

} // namespace
