// SPDX-License-Identifier: GPL-2.0
// The module's core against programs that write anything into a direct region: its bytes, its
// records, its clock and its journals, at any time, while threads commit, die and are waited for.
//
// What is checked: the rules of services.h (by the simulation), that every call ends with a result
// that <stm/ioctl.h> documents, that another region keeps its bytes and goes on, and that nothing
// is left at the end. That each store stays within the region is the address sanitizer's to see.
#include "tests/fuzz/input.hpp"
#include "tests/unit/kernel/simulated/parameters.hpp"
#include "tests/unit/kernel/simulated_linux.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stm/ioctl.h>
#include <utility>
#include <vector>

namespace stm::fuzz {
namespace {

using simulated::As;
using simulated::AsThread;
using simulated::FailPoint;
using simulated::Interleave;
using simulated::MmapLock;
using simulated::OtherThread;
using simulated::Process;
using simulated::Undisturbed;

constexpr std::size_t kPage = STM_PAGE_BYTES;
constexpr std::size_t kBytes = 4 * kPage;
constexpr std::size_t kStripe = 64;
constexpr std::size_t kStripes = kBytes / kStripe;
constexpr std::size_t kActors = 4;
constexpr std::size_t kMostSteps = 150;
constexpr std::uint8_t kKept = 0x5a; // each byte of the other region

stm_settings settings() {
    stm_settings settings = simulated::usual_parameters();
    settings.max_regions = 4;
    settings.max_user_regions = 4;
    settings.default_size = kPage;
    settings.max_region_bytes = 1 << 20;
    settings.max_bytes = 4 << 20;
    settings.max_user_bytes = 4 << 20;
    settings.max_stripes = 1 << 10;
    settings.max_contexts = 8;
    settings.serial_after = 3;
    settings.predicted_pages = 5;
    settings.warm_pages = 3;
    return settings;
}

struct Actor {
    std::size_t process;
    std::unique_ptr<OtherThread> thread = std::make_unique<OtherThread>();
    int calls = 0;            // in progress
    std::uint64_t owner = 0;  // of its journal
    std::uint64_t offset = 0; // of its journal
};

class Play {
public:
    Play() : settings_(settings()) {
        STM_FUZZ_EXPECT(stm_core_init(&settings_) == 0);
        const Undisturbed quiet;
        for (std::size_t i = 0; i < kActors; ++i)
            actors_[i].process = i / 2;
        STM_FUZZ_EXPECT(stm_core_open_minor(0, STM_ACCESS_READ | STM_ACCESS_WRITE, node_.get(),
                                            &control_) == 0);
        kept_ = open("kept", 0);
        std::vector<std::uint8_t> bytes(kPage, kKept);
        STM_FUZZ_EXPECT(write(handle_of(kept_), bytes, 0) == static_cast<long>(kPage));
        for (std::size_t i = 0; i < files_.size(); ++i) {
            const As caller(*processes_[i]);
            files_[i] = open("direct", STM_REGION_DIRECT);
        }
    }
    ~Play() {
        const Undisturbed quiet;
        for (Actor& actor : actors_)
            actor.thread->end();
        for (const int file : files_)
            close(file);
        close(kept_);
        stm_core_flush(control_, simulated::kLastDescriptor);
        stm_core_release(control_);
        simulated::run_timers();
        stm_core_exit();
        simulated::take_signals();
    }
    Play(const Play&) = delete;
    Play& operator=(const Play&) = delete;

    void run(Input& input) {
        Step step;
        for (std::size_t count = 0; count < kMostSteps && input.next(step); ++count) {
            Step inner;
            const bool between = step.interleave != 0 && input.next(inner);
            as_its_actor(step, [&] {
                const simulated::Sleepless quick;
                std::optional<Interleave> interleave;
                std::optional<FailPoint> fail;
                if (between) {
                    interleave.emplace(step.interleave, [&] {
                        const std::size_t outer = who_;
                        as_its_actor(inner, [&] { act(inner); });
                        who_ = outer;
                    });
                }
                if (step.fail != 0)
                    fail.emplace(step.fail);
                fail_ = fail ? &*fail : nullptr;
                act(step);
                fail_ = nullptr;
            });
            STM_FUZZ_EXPECT(simulated::live().held_locks == 0);
            if (count % 16 == 15)
                check_the_other_region();
        }
        check_the_other_region();
    }

private:
    template <typename Action>
    void as_its_actor(const Step& step, Action action) {
        const std::size_t who = step.who % kActors;
        Actor& actor = actors_[who];
        if (actor.calls != 0)
            return; // it is in the middle of a call
        who_ = who;
        ++actor.calls;
        {
            const As caller(*processes_[actor.process]);
            const AsThread thread(*actor.thread);
            action();
            simulated::take_signals();
        }
        --actor.calls;
        if (ended_ == who) {
            ended_ = kActors;
            end_thread(actor);
        }
    }

    // -- Files --

    static stm_handle* handle_of(int file) { return simulated::file_at(file).handle; }

    int open(const char* name, std::uint32_t kind) {
        stm_open open{};
        open.size = sizeof open;
        open.flags = STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE;
        open.region_flags = kind;
        open.mode = 0666;
        open.region_size = kind == 0 ? kPage : kBytes;
        std::strcpy(open.name, name);
        const long result =
            stm_core_control(control_, STM_IOC_OPEN, reinterpret_cast<std::uint64_t>(&open));
        STM_FUZZ_EXPECT(result >= 0);
        return static_cast<int>(result);
    }
    static void close(int file) {
        stm_core_flush(handle_of(file), simulated::kLastDescriptor);
        simulated::unmap_all(stm_core_view(handle_of(file)));
        simulated::close_descriptor(file);
    }
    static long write(stm_handle* file, std::vector<std::uint8_t>& bytes, std::uint64_t offset) {
        simulated::UserBuffer buffer(bytes.data(), bytes.size());
        return stm_core_write(file, buffer.get(), offset);
    }
    static long read(stm_handle* file, std::vector<std::uint8_t>& bytes, std::uint64_t offset) {
        simulated::UserBuffer buffer(bytes.data(), bytes.size());
        return stm_core_read(file, buffer.get(), offset);
    }

    void check_the_other_region() const {
        const Undisturbed quiet;
        std::vector<std::uint8_t> bytes(kPage);
        STM_FUZZ_EXPECT(read(handle_of(kept_), bytes, 0) == static_cast<long>(kPage));
        STM_FUZZ_EXPECT(std::all_of(bytes.begin(), bytes.end(),
                                    [](std::uint8_t byte) { return byte == kKept; }));
    }

    // -- What the program finds in its windows --

    [[nodiscard]] stm_handle* own_file() const { return handle_of(files_[actors_[who_].process]); }
    // Where the window has that byte, or null.
    std::uint8_t* look(std::uint64_t offset) const {
        const Undisturbed quiet;
        stm_fault fault{};
        fault.index = fault.first = fault.last = offset / kPage;
        const MmapLock held;
        if (stm_core_window_fault(own_file(), &fault) != STM_FAULT_MAP)
            return nullptr;
        return simulated::page_bytes(fault.pages[0]) + offset % kPage;
    }
    // A word, as a hostile program stores it: whether it may or not.
    void put(std::uint64_t offset, std::uint64_t value) const {
        if (std::uint8_t* const place = look(offset & ~std::uint64_t{7}))
            __atomic_store_n(reinterpret_cast<std::uint64_t*>(place), value, __ATOMIC_RELAXED);
    }
    std::uint64_t now() const {
        const std::uint8_t* const clock = look(STM_OFFSET_CLOCK);
        return clock == nullptr ? 0 : *reinterpret_cast<const std::uint64_t*>(clock);
    }
    // A number that means something somewhere, or any.
    std::uint64_t number(const Step& step) const {
        const Actor& other = actors_[step.small % kActors];
        switch (step.flags % 12) {
        case 0:
            return 0;
        case 1:
            return STM_JOURNAL_ACTIVE;
        case 2:
            return STM_JOURNAL_COMMITTED(now() + step.small % 3 - 1);
        case 3:
            return STM_RECORD_LOCKED(other.owner);
        case 4:
            return STM_RECORD_LOCKED(std::uint64_t{step.small} % 8);
        case 5:
            return (now() + step.small % 3) << 1;
        case 6:
            return step.large % kStripes;
        case 7:
            return STM_JOURNAL_WRITES + step.small % 3 - 1;
        case 8:
            return ~std::uint64_t{0};
        case 9:
            return kStripes + step.small % 2;
        case 10:
            return other.owner;
        default:
            return step.large * 0x9e3779b97f4a7c15u;
        }
    }

    // -- Steps --

    void expect(long result, std::initializer_list<int> documented) const {
        const auto is = [&](int one) { return result == -one; };
        const bool failed = fail_ != nullptr && fail_->happened() != simulated::Failure::none &&
                            result == simulated::errno_of(fail_->happened());
        trace("  of thread %zu: %ld\n", who_, result);
        STM_FUZZ_EXPECT(result >= 0 || failed || result == -EINTR || result == -ENOMEM ||
                        result == -EFAULT || std::any_of(documented.begin(), documented.end(), is));
    }
    template <typename Argument>
    long ask(unsigned request, Argument& argument) const {
        argument.size = sizeof argument;
        return stm_core_control(own_file(), request, reinterpret_cast<std::uint64_t>(&argument));
    }

    void claim(const Step& step) {
        stm_claim_journal argument{};
        argument.resume = step.flags % 8 == 0 ? number(step) : 0x1000;
        const long result = ask(STM_IOC_JOURNAL, argument);
        expect(result, {EINVAL, ENOSPC});
        if (result != 0)
            return;
        STM_FUZZ_EXPECT(argument.offset % STM_JOURNAL_BYTES == 0 &&
                        argument.offset / STM_JOURNAL_BYTES < STM_MOST_JOURNALS);
        actors_[who_].owner = argument.owner;
        actors_[who_].offset = argument.offset;
    }
    // The middle of a commit, as the library would have made it.
    void be_in_commit(const Step& step) const {
        const Actor& own = actors_[who_];
        if (own.owner == 0)
            return;
        const std::uint64_t journal = STM_OFFSET_JOURNALS + own.offset;
        const std::uint64_t count = 1 + step.small % 5;
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t stripe = (step.large + i * (1 + step.flags % 3)) % kStripes;
            const std::uint64_t write =
                journal + offsetof(stm_journal, writes) + i * sizeof(stm_stripe_write);
            put(write + offsetof(stm_stripe_write, stripe), stripe);
            put(write + offsetof(stm_stripe_write, mask), 0xff00ff);
            static_cast<void>(look(STM_OFFSET_COMMITTED + stripe * kStripe));
            if ((step.large >> i & 1) == 0)
                put(STM_OFFSET_RECORDS + stripe * 8, STM_RECORD_LOCKED(own.owner));
        }
        put(journal + offsetof(stm_journal, count), count);
        if (step.flags % 2 != 0)
            put(STM_OFFSET_CLOCK, now() + 1);
        put(journal + offsetof(stm_journal, state),
            step.flags % 2 != 0 ? STM_JOURNAL_COMMITTED(now()) : STM_JOURNAL_ACTIVE);
    }
    // Any word of a window.
    void spoil(const Step& step) const {
        switch (step.object % 8) {
        case 0:
            return put(STM_OFFSET_CLOCK + step.large % sizeof(stm_clock), number(step));
        case 1:
        case 2:
            return put(STM_OFFSET_RECORDS + step.large % kStripes * 8, number(step));
        case 3:
            return put(STM_OFFSET_COMMITTED + step.large % kBytes, number(step));
        case 4:
        case 5: // the head of a journal
            return put(STM_OFFSET_JOURNALS + actors_[step.small % kActors].offset + step.large % 96,
                       number(step));
        default:
            return put(STM_OFFSET_JOURNALS + actors_[step.small % kActors].offset +
                           step.large % STM_JOURNAL_BYTES,
                       number(step));
        }
    }
    void store_fault(const Step& step) const {
        constexpr std::uint64_t kWindows[] = {STM_OFFSET_COMMITTED, STM_OFFSET_RECORDS,
                                              STM_OFFSET_CLOCK, STM_OFFSET_JOURNALS};
        stm_fault fault{};
        fault.index = fault.first = fault.last = kWindows[step.object % 4] / kPage + step.small % 4;
        fault.write = 1;
        fault.memory = simulated::current_memory();
        const MmapLock held;
        const stm_fault_result result = (step.flags & 1) != 0
                                            ? stm_core_window_store(own_file(), &fault)
                                            : stm_core_make_window_writable(own_file(), &fault);
        trace("  store fault of thread %zu: %d\n", who_, static_cast<int>(result));
    }
    void call(const Step& step) const {
        std::vector<std::uint8_t> bytes(1 + step.small % 300);
        const std::uint64_t offset = step.large % kBytes;
        const long result = (step.flags & 1) != 0 ? write(own_file(), bytes, offset)
                                                  : read(own_file(), bytes, offset);
        expect(result, {EAGAIN, E2BIG, ENOSPC, EDEADLK, ECANCELED});
    }
    void commit_sets(const Step& step) const {
        std::uint64_t read = STM_READ_RUN(step.large % kStripes, 1);
        stm_stripe_write write{};
        write.stripe = step.small % kStripes;
        write.mask = 0xf0f;
        stm_commit_sets argument{};
        argument.sets.handle = -1;
        argument.sets.snapshot = (step.flags & 1) != 0 ? number(step) : now();
        argument.sets.reads = reinterpret_cast<std::uint64_t>(&read);
        argument.sets.read_count = 1;
        argument.sets.writes = reinterpret_cast<std::uint64_t>(&write);
        argument.sets.write_count = 1;
        expect(ask(STM_IOC_COMMIT_SETS, argument),
               {EAGAIN, EINVAL, E2BIG, ENOSPC, EDEADLK, ECANCELED});
    }
    void transaction(const Step& step) const {
        switch (step.flags % 4) {
        case 0:
            return expect(stm_core_control(own_file(), STM_IOC_START, 0),
                          {EAGAIN, EBUSY, EDEADLK, E2BIG, ECANCELED, ENOSPC});
        case 1:
            return expect(
                stm_core_control(own_file(), STM_IOC_START, STM_START_RESTART | STM_START_SERIAL),
                {EAGAIN, EBUSY, EDEADLK, E2BIG, ECANCELED, ENOSPC});
        case 2:
            return expect(stm_core_control(own_file(), STM_IOC_COMMIT, 0),
                          {EAGAIN, EINVAL, E2BIG, EDEADLK, ENOSPC, ECANCELED});
        default:
            return expect(stm_core_control(own_file(), STM_IOC_CANCEL, STM_CANCEL_ALL),
                          {EINVAL, EDEADLK, ECANCELED});
        }
    }
    void tell(const Step& step) const {
        if ((step.flags & 1) != 0) {
            stm_statistics argument{};
            argument.flags = STM_BY_HANDLE;
            expect(ask(STM_IOC_STATISTICS, argument), {});
        } else {
            static_cast<void>(stm_core_poll_ready(own_file()));
        }
    }
    void end_thread(Actor& actor) {
        actor.thread->end();
        finished_.push_back(std::move(actor.thread));
        actor.thread = std::make_unique<OtherThread>();
        actor.owner = 0;
    }
    void end_memory() const {
        const MmapLock held;
        stm_core_memory_gone(own_file(), simulated::current_memory());
    }

    void act(const Step& step) {
        trace("step %u by thread %zu (fail %u, interleave %u)\n", unsigned{step.what} % 16, who_,
              step.fail, step.interleave);
        switch (step.what % 16) {
        case 0:
            return claim(step);
        case 1:
        case 2:
            return be_in_commit(step);
        case 3:
        case 4:
        case 5:
            return spoil(step);
        case 6:
        case 7:
            return expect(stm_core_control(own_file(), STM_IOC_SETTLE, number(step)),
                          {EAGAIN, EINVAL});
        case 8:
            return expect(stm_core_control(own_file(), STM_IOC_WAKE, number(step)), {});
        case 9:
            ended_ = who_;
            return;
        case 10:
            return store_fault(step);
        case 11:
            return call(step);
        case 12:
            return commit_sets(step);
        case 13:
            return transaction(step);
        case 14:
            return tell(step);
        default:
            if ((step.flags & 1) != 0)
                return simulated::exec();
            if ((step.flags & 2) != 0)
                return end_memory();
            static_cast<void>(simulated::run_timers());
        }
    }

    stm_settings settings_;
    simulated::Node node_{0, 0, 0666};
    std::array<std::unique_ptr<Process>, 2> processes_{
        std::make_unique<Process>(100, simulated::kRoot, "one"),
        std::make_unique<Process>(101, simulated::kRoot, "other")};
    std::array<Actor, kActors> actors_{};
    std::vector<std::unique_ptr<OtherThread>> finished_;
    stm_handle* control_ = nullptr;
    int kept_ = -1;
    std::array<int, 2> files_{};
    std::size_t who_ = 0;
    std::size_t ended_ = kActors; // it calls for the last time
    const FailPoint* fail_ = nullptr;
};

} // namespace
} // namespace stm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const stm::simulated::Live before = stm::simulated::live();
    {
        stm::fuzz::Play play;
        stm::fuzz::Input input(data, size);
        play.run(input);
    }
    STM_FUZZ_EXPECT(stm::simulated::live() == before);
    return 0;
}
