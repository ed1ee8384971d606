// SPDX-License-Identifier: GPL-2.0
// The wait of transactions that programs run by themselves.
#include "tests/unit/kernel/typed_test.hpp"

namespace stm::test {
namespace {

class TypedWaits : public Typed {
protected:
    long wait_for(const File& of, const Sets& sets, std::uint64_t timeout_ns = STM_WAIT_FOREVER,
                  std::uint32_t flags = 0) {
        auto argument = argument_of<stm_wait_sets>(flags);
        argument.sets = sets.argument();
        argument.timeout_ns = timeout_ns;
        return request(of, STM_IOC_WAIT_SETS, argument);
    }
    // Until so many threads sleep.
    static void await_sleepers(int count) {
        while (simulated::sleepers() != count)
            std::this_thread::yield();
    }

    File second = open(control, "second", kCreate, {kBytes, 0, 0666});
};

TEST_F(TypedWaits, EndWithAChangeOfWhatWasRead) {
    const Sets sets = reading(now(file), 640);
    std::thread waiter([&] { EXPECT_EQ(wait_for(file, sets), 0); });
    await_sleepers(1);
    put(other, 640, 1);
    waiter.join();
    EXPECT_EQ(statistics_of(file).waits, 1u);
    EXPECT_EQ(statistics_of(file).waiting, 0u);
}

TEST_F(TypedWaits, DoNotBeginAfterAChange) {
    const Sets sets = reading(now(file), 640);
    disturb(640);
    EXPECT_EQ(wait_for(file, sets), 0);
}

TEST_F(TypedWaits, EndAlsoWhenTheSameBytesAreWritten) {
    const Sets sets = reading(now(file), 640);
    std::thread waiter([&] { EXPECT_EQ(wait_for(file, sets), 0); });
    await_sleepers(1);
    EXPECT_EQ(commit_sets(other, writing(now(file), 640, 0)), 0);
    waiter.join();
}

TEST_F(TypedWaits, GoOnWhenSomethingElseChanges) {
    const Sets sets = reading(now(file), 640);
    std::thread waiter([&] { EXPECT_EQ(wait_for(file, sets, 20'000'000), -ETIMEDOUT); });
    await_sleepers(1);
    for (std::uint64_t position = 704; position < 704 + 64 * 64; position += 64)
        put(other, position, 1);
    waiter.join();
}

TEST_F(TypedWaits, InSeveralRegionsEndWithAChangeInAny) {
    for (const File* changed : {&file, &second}) {
        const Sets in_first = reading(now(file), 0);
        const Sets in_second = reading(now(second), 128);
        std::thread waiter([&] {
            const stm_sets others[] = {in_second.argument(second.descriptor())};
            auto argument = argument_of<stm_wait_sets>(0);
            argument.sets = in_first.argument();
            argument.others = reinterpret_cast<std::uint64_t>(others);
            argument.other_count = 1;
            argument.timeout_ns = STM_WAIT_FOREVER;
            EXPECT_EQ(request(file, STM_IOC_WAIT_SETS, argument), 0);
        });
        await_sleepers(1);
        put(*changed, changed == &file ? 0 : 128, 1);
        waiter.join();
    }
}

TEST_F(TypedWaits, RefuseWhatCannotEndThem) {
    EXPECT_EQ(wait_for(file, now(file)), -EDEADLK);
    EXPECT_EQ(wait_for(file, writing(reading(now(file), 0), 0, 1)), -EINVAL);
    EXPECT_EQ(wait_for(file, reading(now(file), 0), 0, 0x4), -EINVAL);
    EXPECT_EQ(wait_for(file, reading(now(file), 0), 0, STM_WAIT_KEEP), -EINVAL);
}

TEST_F(TypedWaits, EndAtATime) {
    EXPECT_EQ(wait_for(file, reading(now(file), 0), 1, STM_WAIT_UNTIL), -ETIMEDOUT);
    EXPECT_EQ(wait_for(file, reading(now(file), 0), 1'000), -ETIMEDOUT);
}

} // namespace
} // namespace stm::test
