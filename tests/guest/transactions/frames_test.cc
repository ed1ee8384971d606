// SPDX-License-Identifier: GPL-2.0
// A restart goes to a function that has not returned, or the program is told its mistake. On other
// stacks than the thread's own a transaction restarts as anywhere.
#include "death.hpp"
#include "transactions.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

using namespace stm::test;

namespace {

class Frames : public Transactions {};

[[gnu::noinline]] void start_in_a_function(int fd) {
    stm_start(fd);
    asm volatile("" ::: "memory");
}

[[gnu::noinline]] void left_by_return(int fd) {
    volatile char space[256];
    space[0] = 1;
    stm_start(fd);
    space[1] = space[0];
}

void expect_words(const Death& death, const char* words) {
    EXPECT_EQ(death.signal, SIGABRT);
    EXPECT_NE(death.said.find(words), std::string::npos) << death.said;
}

constexpr const char* kGone = "has returned: call it in the function that calls stm_commit";

TEST_F(Frames, ARestartIntoAFunctionThatHasReturnedIsTold) {
    expect_words(death_of([&] {
                     start_in_a_function(fd());
                     stm_retry(fd());
                 }),
                 kGone);
}

TEST_F(Frames, InASecondThreadToo) {
    expect_words(death_of([&] {
                     pthread_t thread;
                     int number = fd();
                     pthread_create(
                         &thread, nullptr,
                         [](void* argument) -> void* {
                             const int own = *static_cast<int*>(argument);
                             start_in_a_function(own);
                             stm_retry(own);
                             return nullptr;
                         },
                         &number);
                     pthread_join(thread, nullptr);
                 }),
                 kGone);
}

TEST_F(Frames, ALoadThatRestartsIntoOneIsTold) {
    const Parameter no_watchdog("watchdog_ms", "0"); // which could be there before the load
    auto* place = static_cast<volatile long*>(
        ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd(), 0));
    ASSERT_NE(place, MAP_FAILED);
    expect_words(death_of([&] {
                     start_in_a_function(fd());
                     (void)place[0];
                     Child::doing([&] {
                         Fd handle = another();
                         stm_start(handle.get());
                         put(handle.get(), 1L);
                         put(handle.get(), 1L, kPage);
                         return stm_commit(handle.get());
                     }).wait();
                     (void)place[kPage / 8];
                 }),
                 kGone);
}

TEST_F(Frames, AStartAfterATransactionThatWasLeftByReturnIsTold) {
    for (const bool same : {true, false}) {
        Fd other = another();
        expect_words(death_of([&] {
                         left_by_return(fd());
                         stm_start(same ? fd() : other.get());
                     }),
                     "has returned without stm_commit or stm_cancel");
    }
}

TEST_F(Frames, AStartAfterATransactionThatWasEndedByAnotherFunctionIsRight) {
    left_by_return(fd());
    EXPECT_EQ(stm_commit(fd()), 0);
    left_by_return(fd());
    stm_cancel(fd());
    left_by_return(fd());
    EXPECT_EQ(::ioctl(fd(), STM_IOC_CANCEL, 0), 0);
    volatile int attempts = 0;
    stm_start(fd());
    attempts = attempts + 1;
    if (attempts == 1)
        stm_retry(fd());
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(attempts, 2);
}

// -- Other stacks --

// Two contexts that hand over to each other; the second one runs on a stack of its own.
struct Coroutine {
    explicit Coroutine(void (*body)(), void* memory, std::size_t size) {
        ::getcontext(&own);
        own.uc_stack.ss_sp = memory;
        own.uc_stack.ss_size = size;
        own.uc_link = &caller;
        ::makecontext(&own, body, 0);
    }
    void resume() { ::swapcontext(&caller, &own); }
    void yield() { ::swapcontext(&own, &caller); }

    ucontext_t own{};
    ucontext_t caller{};
};

Coroutine* coroutine;
int handle_of_coroutine;
volatile int attempts_of_coroutine;

void transaction_that_yields() {
    volatile int attempts = 0;
    stm_start(handle_of_coroutine);
    attempts = attempts + 1;
    coroutine->yield();
    if (attempts < 3)
        stm_retry(handle_of_coroutine);
    EXPECT_EQ(stm_commit(handle_of_coroutine), 0);
    attempts_of_coroutine = attempts;
}

void retry_once() {
    if (attempts_of_coroutine == 1)
        stm_retry(handle_of_coroutine);
}

class Memory {
public:
    explicit Memory(std::size_t size)
        : size_(size), address_(::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
    ~Memory() { ::munmap(address_, size_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    [[nodiscard]] void* get() const { return address_; }
    [[nodiscard]] std::size_t size() const { return size_; }

private:
    std::size_t size_;
    void* address_;
};

TEST_F(Frames, ATransactionInACoroutineRestarts) {
    const Memory memory(256 * 1024);
    handle_of_coroutine = fd();
    Coroutine own(transaction_that_yields, memory.get(), memory.size());
    coroutine = &own;
    attempts_of_coroutine = 0;
    while (attempts_of_coroutine == 0)
        own.resume();
    EXPECT_EQ(attempts_of_coroutine, 3);
}

TEST_F(Frames, ARestartLeavesACoroutineThatLiesAnywhere) {
    // Above and below each other.
    const Memory first(256 * 1024);
    const Memory second(256 * 1024);
    handle_of_coroutine = fd();
    for (const Memory* memory : {&first, &second}) {
        Coroutine own(retry_once, memory->get(), memory->size());
        coroutine = &own;
        attempts_of_coroutine = 0;
        stm_start(fd());
        attempts_of_coroutine = attempts_of_coroutine + 1;
        own.resume();
        EXPECT_EQ(stm_commit(fd()), 0);
        EXPECT_EQ(attempts_of_coroutine, 2);
    }
}

TEST_F(Frames, ATransactionOnAnAlternateStackWithinTheStack) {
    alignas(16) char memory[64 * 1024];
    stack_t alternate{};
    alternate.ss_sp = memory;
    alternate.ss_size = sizeof memory;
    stack_t before{};
    ASSERT_EQ(::sigaltstack(&alternate, &before), 0);
    handle_of_coroutine = fd();
    Coroutine own(retry_once, memory, sizeof memory);
    coroutine = &own;
    attempts_of_coroutine = 0;
    stm_start(fd());
    attempts_of_coroutine = attempts_of_coroutine + 1;
    own.resume();
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(attempts_of_coroutine, 2);
    ASSERT_EQ(::sigaltstack(&before, nullptr), 0);
}

} // namespace
