// SPDX-License-Identifier: GPL-2.0
// How transactions in mappings end, and who has a view then.
#include "tests/unit/kernel/transaction_test.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <thread>

namespace stm::test {
namespace {

TEST_F(MappedTransactions, OfEndedThreadsLeaveNothingInTheMapping) {
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
    }).join();
    stm_core_flush(file.get(), simulated::still_open());
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 0), 0u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(load(other, 0), 0u);
}

TEST_F(MappedTransactions, OfEndedThreadsAreFoundByTheWatchdog) {
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
    }).join();
    EXPECT_NE(simulated::mapped_page(file.view(), 0), nullptr);
    EXPECT_EQ(simulated::run_timers(), 1u);
    EXPECT_EQ(simulated::mapped_page(file.view(), 0), nullptr);
    EXPECT_EQ(simulated::run_timers(), 0u);
    EXPECT_EQ(statistics_of(file).aborts[STM_REASON_KILLED], 1u);
    EXPECT_EQ(load(file, 0), 0u);
}

TEST_F(MappedTransactions, OfEndedThreadsAreFoundByAFault) {
    settings.watchdog_ms = 0;
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
    }).join();
    EXPECT_EQ(simulated::run_timers(), 0u);
    EXPECT_EQ(load(file, kPage), 0u) << "it has no view any more";
    EXPECT_FALSE(store(file, kPage, 1));
    EXPECT_EQ(simulated::run_timers(), 1u);
    EXPECT_EQ(load(file, 0), 0u);
    EXPECT_EQ(statistics_of(file).aborts[STM_REASON_KILLED], 1u);
}

// A fault has found a page of a transaction, and maps it only when that has been ended by another
// thread.
class FaultsInProgress : public MappedTransactions {
protected:
    void end_during_a_fault(const std::function<void()>& end) {
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
        put(file, kPage, 9);
        std::promise<void> found;
        std::atomic<bool> ended{false};
        std::thread faulting([&, memory = simulated::current_memory()] {
            const MmapLock held;
            stm_fault question{};
            question.memory = memory;
            question.index = question.last = 1;
            question.address = simulated::address_of(1);
            ASSERT_EQ(stm_core_transactional_fault(file.get(), &question), STM_FAULT_MAP);
            found.set_value();
            // If nobody waits for this fault, the end comes first.
            for (int turn = 0; turn < 50 && !ended; ++turn)
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            simulated::map_page(file.view(), 1, question.pages[0], false);
        });
        found.get_future().wait();
        end();
        ended = true;
        faulting.join();
        EXPECT_EQ(simulated::mapped_page(file.view(), 0), nullptr);
        EXPECT_EQ(simulated::mapped_page(file.view(), 1), nullptr);
    }
};

TEST_F(FaultsInProgress, MapNoPageOfATransactionThatItsThreadsCloseHasEnded) {
    end_during_a_fault([&] { stm_core_flush(file.get(), simulated::kLastDescriptor); });
    EXPECT_FALSE(store(file, 0, 1)) << "it has no view any more";
    EXPECT_EQ(load(file, 0), 0u);
    EXPECT_EQ(commit(file), -ECANCELED);
}

TEST_F(FaultsInProgress, MapNoPageOfATransactionThatAnotherThreadsCloseHasEnded) {
    end_during_a_fault([&] {
        OtherThread closing;
        const AsThread it(closing);
        stm_core_flush(file.get(), simulated::kLastDescriptor);
    });
    EXPECT_FALSE(store(file, 0, 1));
    EXPECT_EQ(fault(file, 0, 0).result, STM_FAULT_OUTSIDE) << "until the thread has been told";
    EXPECT_EQ(commit(file), -ECANCELED);
    EXPECT_EQ(load(file, 0), 0u);
}

TEST_F(FaultsInProgress, MapNoPageOfATransactionThatIsCommitted) {
    end_during_a_fault([&] { EXPECT_EQ(commit(file), 0); });
}

TEST_F(FaultsInProgress, MapNoPageOfATransactionThatExecHasEnded) {
    end_during_a_fault([&] {
        simulated::exec();
        EXPECT_EQ(transaction_of(file).depth, 0u);
    });
}

// Another thread's, in that process, until it is released; a second at most, so that who waits for
// it is found out.
class HeldMmapLock {
public:
    explicit HeldMmapLock(Process& process)
        : holder_([this, &process] {
              const As now(process);
              const MmapLock lock;
              held_.set_value();
              for (int turn = 0; turn < 1000 && !over_; ++turn)
                  std::this_thread::sleep_for(std::chrono::milliseconds(1));
              in_time_ = over_;
          }) {
        held_.get_future().wait();
    }
    // Whether it was held until now.
    bool release() {
        over_ = true;
        holder_.join();
        return in_time_;
    }

private:
    std::promise<void> held_;
    std::atomic<bool> over_{false};
    bool in_time_ = false;
    std::thread holder_; // last: it uses the others
};

// Whoever shares the file may be in a call that holds its mmap_lock for as long as it likes.
TEST_F(MappedTransactions, OfEndedThreadsDoNotHoldUpTheClosesOfOtherProcesses) {
    Process child(200, kRoot, "child");
    OtherThread of_child;
    {
        const As now(child);
        const AsThread it(of_child);
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
    }
    of_child.end();
    HeldMmapLock held(child);
    stm_core_flush(file.get(), simulated::still_open());
    EXPECT_TRUE(held.release()) << "nobody waited for it";
    EXPECT_EQ(simulated::run_timers(), 1u) << "the watchdog takes it out";
    EXPECT_EQ(statistics_of(file).aborts[STM_REASON_KILLED], 1u);
    const As now(child);
    EXPECT_EQ(load(file, 0), 0u);
}

TEST_F(MappedTransactions, OfEndedThreadsDoNotHoldUpTheWatchdog) {
    Process busy(200, kRoot, "busy");
    Process idle(201, kRoot, "idle");
    for (Process* const process : {&busy, &idle}) {
        OtherThread thread;
        const As now(*process);
        const AsThread it(thread);
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
    }
    HeldMmapLock held(busy);
    EXPECT_EQ(simulated::run_timers(), 1u);
    {
        const As now(idle);
        EXPECT_EQ(simulated::mapped_page(file.view(), 0), nullptr);
    }
    EXPECT_TRUE(held.release()) << "nobody waited for it";
    EXPECT_EQ(simulated::run_timers(), 1u) << "who waits takes it out";
    const As now(busy);
    EXPECT_EQ(simulated::mapped_page(file.view(), 0), nullptr);
    EXPECT_EQ(simulated::run_timers(), 0u);
}

// A thread has closed its last descriptor, got the file again, and does not know yet that its
// transaction is over.
TEST_F(MappedTransactions, ThatAreLostStoreNothingIntoThoseOfOtherThreads) {
    OtherThread second;
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 9));
    stm_core_flush(file.get(), simulated::kLastDescriptor);
    {
        const AsThread it(second);
        EXPECT_EQ(start(file), -EBUSY);
    }
    EXPECT_EQ(load(file, kPage), 0u);
    disturb(kPage);
    EXPECT_EQ(load(file, kPage), 77u) << "as without a transaction";
    EXPECT_FALSE(store(file, kPage, 9));
    EXPECT_FALSE(store(file, 0, 9));
    EXPECT_EQ(fault(file, 2, 2, Access::store).result, STM_FAULT_FORBIDDEN);
    EXPECT_EQ(commit(file), -ECANCELED);
    {
        const AsThread it(second);
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, kPage, 5));
        EXPECT_EQ(load(file, 0), 0u);
        disturb(0);
        EXPECT_EQ(load(file, 0), 0u) << "what was committed is in no mapping any more";
        EXPECT_EQ(commit(file), -EAGAIN);
    }
    EXPECT_EQ(get(other, kPage), 77u);
}

// A process that shares the handle maps it first, while a transaction by calls runs here.
TEST_F(MappedTransactions, GetTheViewWhereverTheFirstMappingWas) {
    File late = open(control, "tx", kOpen, {0, 0, 0});
    Process child(200, kRoot, "child");
    EXPECT_EQ(start(late), 1);
    EXPECT_EQ(get(late, 0), 0u);
    {
        const As now(child);
        ASSERT_EQ(map(late, 0, 2, STM_MAP_WRITE), 0);
    }
    ASSERT_EQ(map(late, 0, 2, STM_MAP_WRITE), 0);
    disturb(0);
    disturb(kPage);
    EXPECT_EQ(fault(late, 1, 1).result, STM_FAULT_FORBIDDEN) << "it has read what was before";
    EXPECT_EQ(commit(late), -EAGAIN);
    EXPECT_EQ(start(late), 1);
    EXPECT_EQ(load(late, kPage), 77u);
    EXPECT_TRUE(store(late, kPage, 5));
    EXPECT_EQ(commit(late), 0);
    EXPECT_EQ(get(other, kPage), 5u);
    simulated::unmap_all(late.view());
}

TEST_F(MappedTransactions, OfTwoThreadsKeepTheirProcessFromMapping) {
    put(other, kPage, 5);
    OtherThread second;
    Process child(200, kRoot, "child");
    File shared = open(control, "tx", kOpen, {0, 0, 0});
    EXPECT_EQ(start(shared), 1);
    {
        const AsThread it(second);
        EXPECT_EQ(start(shared), 1);
    }
    {
        const As now(child);
        ASSERT_EQ(map(shared, 0, 2, STM_MAP_WRITE), 0);
    }
    EXPECT_EQ(map(shared, 0, 2, STM_MAP_WRITE), -EBUSY) << "two transactions of one process";
    EXPECT_EQ(commit(shared), 0);
    EXPECT_EQ(map(shared, 0, 2, STM_MAP_WRITE), 0);
    const AsThread it(second);
    EXPECT_EQ(load(shared, kPage), 5u);
    EXPECT_EQ(commit(shared), 0);
    simulated::unmap_all(shared.view());
}

// What another thread does with the mapping while a start goes on: it maps it, and loads from it.
class MappedDuringAStart {
public:
    explicit MappedDuringAStart(const File& file) : file_(file) {}

    void operator()() {
        const AsThread it(mapping_);
        if (map(file_, 0, 2, STM_MAP_WRITE) != 0)
            return;
        const Fault found = fault(file_, 0, 0);
        is_private = found.result == STM_FAULT_MAP && !belongs_to_the_region(found.pages[0]);
    }
    // What is in the mapping, if anything, is what was committed.
    void expect_no_private_page() const {
        const stm_page* const page = simulated::mapped_page(file_.view(), 0);
        EXPECT_TRUE(page == nullptr || belongs_to_the_region(page));
    }
    bool is_private = false; // the page that it got

private:
    bool belongs_to_the_region(const stm_page* page) const {
        return simulated::page_state(page).identity == file_.identity();
    }
    const File& file_;
    OtherThread mapping_;
};

// The descriptor was closed before the start, of which the one who closes it finds nothing.
TEST_F(MappedTransactions, ThatEndInTheirStartWithoutADescriptorLeaveNoPageInAFirstMapping) {
    unsigned got_pages = 0;
    for (std::size_t step = 1;; ++step) {
        SCOPED_TRACE(testing::Message() << "step " << step);
        const File late = open(control, "tx", kOpen, {0, 0, 0});
        stm_core_flush(late.get(), simulated::closed_for_good());
        MappedDuringAStart mapped(late);
        bool happened = false;
        {
            const Interleave point(step, std::ref(mapped));
            EXPECT_EQ(start(late), -ECANCELED);
            happened = point.happened();
        }
        mapped.expect_no_private_page();
        EXPECT_EQ(transaction_of(late).depth, 0u);
        simulated::unmap_all(late.view());
        if (!happened)
            break;
        got_pages += mapped.is_private ? 1 : 0;
    }
    EXPECT_GE(got_pages, 1u);
}

// A thread whose transaction ends has the view until its pages are out of the mapping. A mapping
// that another thread makes in between is for the transaction that begins, which then finds the
// view taken.
TEST_F(MappedTransactions, ThatEndInTheirStartBesideAnotherViewLeaveNoPageInAMapping) {
    unsigned got_pages = 0;
    bool paused = true;
    for (std::size_t pause = 1; paused; ++pause) {
        bool happened = true;
        for (std::size_t step = 1; happened; ++step) {
            SCOPED_TRACE(testing::Message() << "step " << pause << ", " << step);
            std::promise<void> is_paused;
            std::promise<void> goes_on;
            std::thread ending([&] {
                EXPECT_EQ(start(file), 1);
                EXPECT_TRUE(store(file, kPage, step));
                const Interleave point(pause, [&] {
                    is_paused.set_value();
                    goes_on.get_future().wait();
                });
                EXPECT_EQ(commit(file), 0);
                paused = point.happened();
                if (!paused)
                    is_paused.set_value();
            });
            is_paused.get_future().wait();
            MappedDuringAStart mapped(file);
            long started = 0;
            {
                const Interleave point(step, std::ref(mapped));
                started = start(file);
                happened = point.happened();
            }
            goes_on.set_value();
            ending.join();
            EXPECT_TRUE(started == 1 || started == -EBUSY) << started;
            if (started == -EBUSY) {
                mapped.expect_no_private_page();
                got_pages += mapped.is_private ? 1 : 0;
            } else {
                EXPECT_EQ(cancel(file), 0);
            }
            simulated::unmap_all(file.view());
        }
    }
    EXPECT_GE(got_pages, 1u);
}

TEST_F(MappedTransactions, ThatBeganBeforeTheMappingLeaveItWhenTheirThreadEnds) {
    File late = open(control, "tx", kOpen, {0, 0, 0});
    std::thread([&] {
        EXPECT_EQ(start(late), 1);
        ASSERT_EQ(map(late, 0, 1, STM_MAP_WRITE), 0);
        EXPECT_TRUE(store(late, 0, 9));
    }).join();
    EXPECT_EQ(simulated::run_timers(), 1u);
    EXPECT_EQ(simulated::mapped_page(late.view(), 0), nullptr);
    EXPECT_EQ(load(late, 0), 0u);
}

TEST_F(MappedTransactions, EndWithTheirFileAndItsMapping) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 1));
    file.close();
    EXPECT_EQ(load(other, 0), 0u);
}

} // namespace
} // namespace stm::test
