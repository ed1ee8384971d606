// SPDX-License-Identifier: GPL-2.0
// What the engine costs on one thread, without system calls: flat memory and a gate that is two
// atomic operations.
#include "runtime/protocol/serial_gate.hpp"
#include "runtime/protocol/transaction.hpp"

#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

namespace {

using namespace stm::protocol;
using stm::runtime::kSuccess;
using stm::runtime::Status;

class BenchMemory {
public:
    explicit BenchMemory(u64 size)
        : size_(size), orecs_(new Atomic<u64>[size / kStripeBytes]), words_(size / 8) {}

    Atomic<u64>& clock() { return clock_; }
    Atomic<u64>* orec(u64 stripe) { return &orecs_[stripe]; }
    u8* data(u64 stripe) { return reinterpret_cast<u8*>(words_.data()) + stripe * kStripeBytes; }
    Status materialise(u64) { return kSuccess; }
    u64 size() const { return size_; }
    void pause() { stm::runtime::spin_hint(); }
    u32 spin_limit() const { return 64; }
    Status enter_commit() {
        if (gate_.try_enter())
            return kSuccess;
        return stm::runtime::Error::busy;
    }
    void leave_commit() { static_cast<void>(gate_.leave()); }
    Status acquire_serial() {
        if (gate_.try_close())
            return kSuccess;
        return stm::runtime::Error::busy;
    }
    bool keep_serial() { return true; }
    void release_serial() { gate_.open(); }
    void begin_critical() {}
    void end_critical() {}
    void serial_batch() {}
    WaitFilter& wait_filter() { return filter_; }
    void wake(WaitMask) {}

private:
    alignas(64) Atomic<u64> clock_{0};
    alignas(64) SerialGate gate_;
    alignas(64) WaitFilter filter_;
    u64 size_;
    std::unique_ptr<Atomic<u64>[]> orecs_;
    std::vector<u64> words_;
};

constexpr u64 kSize = 1 << 20;

struct Fixture {
    BenchMemory memory{kSize};
    Transaction<BenchMemory> tx{memory, 1};
};

void check(AbortReason reason) {
    if (reason != AbortReason::none)
        std::abort();
}

void BeginCommit(benchmark::State& state) {
    Fixture f;
    for (auto _ : state) {
        check(f.tx.begin());
        check(f.tx.commit());
    }
}
BENCHMARK(BeginCommit);

void OneReadOneWrite(benchmark::State& state) {
    Fixture f;
    u64 value = 0;
    for (auto _ : state) {
        check(f.tx.begin());
        check(f.tx.read(128, &value, 8));
        ++value;
        check(f.tx.write(128, &value, 8));
        check(f.tx.commit());
    }
}
BENCHMARK(OneReadOneWrite);

void OneReadOneWriteElsewhere(benchmark::State& state) {
    Fixture f;
    u64 value = 0;
    for (auto _ : state) {
        check(f.tx.begin());
        check(f.tx.read(128, &value, 8));
        check(f.tx.write(4096, &value, 8));
        check(f.tx.commit());
    }
}
BENCHMARK(OneReadOneWriteElsewhere);

void Transfer(benchmark::State& state) {
    Fixture f;
    u64 from = 0;
    u64 to = 0;
    u64 at = 0;
    for (auto _ : state) {
        at = (at + 7) % 1024;
        check(f.tx.begin());
        check(f.tx.read(at * 64, &from, 8));
        check(f.tx.read((1023 - at) * 64 + 8, &to, 8));
        --from;
        ++to;
        check(f.tx.write(at * 64, &from, 8));
        check(f.tx.write((1023 - at) * 64 + 8, &to, 8));
        check(f.tx.commit());
    }
}
BENCHMARK(Transfer);

// Per item: one read of 8 bytes.
void Reads(benchmark::State& state) {
    Fixture f;
    const auto count = static_cast<u64>(state.range(0));
    const auto stride = static_cast<u64>(state.range(1));
    u64 value = 0;
    for (auto _ : state) {
        check(f.tx.begin());
        for (u64 i = 0; i < count; ++i) {
            check(f.tx.read(i * stride, &value, 8));
            benchmark::DoNotOptimize(value);
        }
        check(f.tx.commit());
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(count) * state.iterations());
}
BENCHMARK(Reads)->Args({64, 64})->Args({64, 4096})->Args({1024, 64})->Args({512, 8});

// Of stripes that were read before: the look-up.
void ReadsAgain(benchmark::State& state) {
    Fixture f;
    u64 value = 0;
    check(f.tx.begin());
    for (u64 i = 0; i < 64; ++i)
        check(f.tx.read(i * 64, &value, 8));
    for (auto _ : state) {
        for (u64 i = 0; i < 64; ++i) {
            check(f.tx.read(i * 64, &value, 8));
            benchmark::DoNotOptimize(value);
        }
    }
    state.SetItemsProcessed(64 * state.iterations());
}
BENCHMARK(ReadsAgain);

void OwnWritesReadBack(benchmark::State& state) {
    Fixture f;
    u64 value = 0;
    check(f.tx.begin());
    for (u64 i = 0; i < 64; ++i)
        check(f.tx.write(i * 64, &value, 8));
    for (auto _ : state) {
        for (u64 i = 0; i < 64; ++i) {
            check(f.tx.read(i * 64, &value, 8));
            benchmark::DoNotOptimize(value);
        }
    }
    state.SetItemsProcessed(64 * state.iterations());
}
BENCHMARK(OwnWritesReadBack);

// Per item: one write of 8 bytes with its share of the commit.
void Writes(benchmark::State& state) {
    Fixture f;
    const auto count = static_cast<u64>(state.range(0));
    for (auto _ : state) {
        check(f.tx.begin());
        for (u64 i = 0; i < count; ++i)
            check(f.tx.write(i * 64, &i, 8));
        check(f.tx.commit());
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(count) * state.iterations());
}
BENCHMARK(Writes)->Arg(1)->Arg(8)->Arg(64)->Arg(256)->Arg(1024);

void ReadBlock(benchmark::State& state) {
    Fixture f;
    std::vector<u8> bytes(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        check(f.tx.begin());
        check(f.tx.read(0, bytes.data(), bytes.size()));
        check(f.tx.commit());
    }
    state.SetBytesProcessed(state.range(0) * state.iterations());
}
BENCHMARK(ReadBlock)->Arg(64)->Arg(4096)->Arg(65536)->Arg(1 << 20);

void WriteBlock(benchmark::State& state) {
    Fixture f;
    std::vector<u8> bytes(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        check(f.tx.begin());
        check(f.tx.write(0, bytes.data(), bytes.size()));
        check(f.tx.commit());
    }
    state.SetBytesProcessed(state.range(0) * state.iterations());
}
BENCHMARK(WriteBlock)->Arg(64)->Arg(4096)->Arg(65536)->Arg(1 << 20);

} // namespace
