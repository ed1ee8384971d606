// SPDX-License-Identifier: GPL-2.0
// The module's core against a simulated Linux: any sequence of calls, by four threads of three
// processes, with services that fail and other calls in the middle.
//
// What is checked: the rules of services.h (by the simulation), that every result is one that
// <stm/ioctl.h> documents, that the contents of regions are those of the model in history.hpp, that
// the books are right, and that nothing is left at the end.
#include "tests/fuzz/history.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/unit/kernel/simulated_linux.hpp"

#include <stm/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
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
constexpr std::size_t kModelledBytes = 4 * kPage;
constexpr std::size_t kMostSteps = 200;

stm_settings usual_settings() {
    stm_settings settings{};
    settings.device_major = 240;
    settings.max_regions = 16;
    settings.max_user_regions = 4;
    settings.default_size = 2 * kPage;
    settings.max_region_bytes = 8 << 20;
    settings.max_bytes = 24 << 20;
    settings.max_user_bytes = 16 << 20;
    settings.default_mode = 0666;
    settings.max_stripes = 1 << 12;
    settings.max_contexts = 3;
    settings.serial_after = 3;
    settings.serial_lease_ms = 1000;
    settings.serial_lease_max_ms = 60000;
    settings.watchdog_ms = 10;
    settings.predicted_pages = 5;
    return settings;
}

struct Actor {
    std::size_t process;
    std::unique_ptr<OtherThread> thread = std::make_unique<OtherThread>();
    int calls = 0; // in progress
};

struct Mapping {
    std::size_t process;
    std::size_t first;
    std::size_t pages;
    bool writable;
};

constexpr std::size_t kNobody = ~std::size_t{0};
constexpr std::size_t kActors = 4;
constexpr std::size_t kProcesses = 3;

struct Region {
    std::uint64_t id;
    bool plain;
    std::uint64_t size; // 0: not settled
    std::optional<History> history;
};

struct Transaction {
    std::optional<Observer> seen; // none: the region is too large for the model
    std::size_t depth = 1;        // nested parts and itself
    std::vector<bool> touched;    // pages that it has of its own
    bool has_no_view = false;     // and gets none any more
};

struct File {
    stm_handle* handle = nullptr;
    int descriptor = -1; // -1: of a device node
    std::uint64_t region = 0;
    unsigned access = 0;
    int calls = 0; // in progress
    bool released = false;
    std::vector<Mapping> mappings;
    bool was_mapped = false;
    std::array<std::unique_ptr<Transaction>, kActors> transactions;
    std::array<std::size_t, kProcesses> viewers; // whose transaction has the view
    std::array<bool, kProcesses> unclear{};      // a failure left open which pages are there
};

class World {
public:
    World() {
        STM_FUZZ_EXPECT(stm_core_init(&settings_) == 0);
        processes_[0] = std::make_unique<Process>(100, simulated::kRoot, "root");
        processes_[1] = std::make_unique<Process>(
            101, simulated::Credential{1000, 1000, false, false, false}, "one");
        processes_[2] = std::make_unique<Process>(
            102, simulated::Credential{1001, 1000, false, false, false}, "other", 027);
        for (std::size_t i = 0; i < kActors; ++i)
            actors_[i].process = i / 2 + (i == 3 ? 1 : 0); // 0 0 1 2
        const Undisturbed quiet;
        open_minor(0, STM_ACCESS_READ | STM_ACCESS_WRITE, 0);
    }

    ~World() {
        const Undisturbed quiet;
        check_books();
        for (std::size_t place = 0; place < files_.size(); ++place) {
            if (files_[place])
                close(place);
        }
        simulated::run_timers();
        stm_core_exit();
        simulated::take_signals();
    }

    void run(Input& input) {
        input_ = &input;
        Step step;
        for (std::size_t count = 0; count < kMostSteps && input.next(step); ++count) {
            run(step, Where::alone);
            STM_FUZZ_EXPECT(simulated::live().held_locks == 0);
            if (count % 32 == 31) {
                const Undisturbed quiet;
                check_books();
            }
        }
    }

private:
    enum class Where { alone, inside };

    // ---- who does what, and what disturbs it --------------------------------------------------

    void run(const Step& step, Where where) {
        const std::size_t who = step.who % kActors;
        if (actors_[who].calls != 0)
            return; // it is in the middle of a call
        who_ = who;
        ++actors_[who].calls;
        {
            const As caller(*processes_[process()]);
            const AsThread thread(*actors_[who].thread);
            disturbed_ = false;
            if (where == Where::inside) {
                act(step);
            } else {
                Step inner;
                const bool between = step.interleave != 0 && input_->next(inner);
                {
                    const simulated::Sleepless quick;
                    std::optional<Interleave> interleave;
                    std::optional<FailPoint> fail;
                    if (between)
                        interleave.emplace(step.interleave, [&] {
                            const std::size_t outer = std::exchange(who_, 0);
                            run(inner, Where::inside);
                            who_ = outer;
                            disturbed_ = true;
                        });
                    if (step.fail != 0)
                        fail.emplace(step.fail);
                    fail_ = fail ? &*fail : nullptr;
                    act(step);
                    fail_ = nullptr;
                }
            }
            simulated::take_signals();
        }
        --actors_[who].calls;
    }

    std::size_t process() const { return actors_[who_].process; }
    bool failed() const {
        return fail_ != nullptr && fail_->happened() != simulated::Failure::none;
    }

    void act(const Step& step);

    // ---- files and regions ---------------------------------------------------------------------

    Region* region(std::uint64_t id) {
        const auto found = std::find_if(regions_.begin(), regions_.end(),
                                        [&](const auto& one) { return one->id == id; });
        return found == regions_.end() ? nullptr : found->get();
    }
    Region& region_of(std::size_t place) { return *region(files_[place]->region); }

    stm_info info_of(const File& file) {
        const Undisturbed quiet;
        stm_info info{};
        info.size = sizeof(info);
        info.flags = STM_BY_HANDLE;
        STM_FUZZ_EXPECT(stm_core_control(file.handle, STM_IOC_INFO,
                                         reinterpret_cast<std::uint64_t>(&info)) == 0);
        return info;
    }

    void settle(Region& region, std::uint64_t size) {
        if (region.size == size)
            return;
        STM_FUZZ_EXPECT(region.size == 0); // given once
        STM_FUZZ_EXPECT(size % kPage == 0);
        region.size = size;
        if (size <= kModelledBytes)
            region.history.emplace(size);
    }
    void look_at_size(std::size_t place) {
        settle(region_of(place), info_of(*files_[place]).region_size);
    }

    void add(stm_handle* handle, int descriptor, unsigned access) {
        const auto free = std::find(files_.begin(), files_.end(), nullptr);
        auto file = std::make_unique<File>();
        file->handle = handle;
        file->descriptor = descriptor;
        file->access = access;
        file->viewers.fill(kNobody);
        const stm_info info = info_of(*file);
        file->region = info.id;
        if (region(info.id) == nullptr)
            regions_.push_back(std::make_unique<Region>(
                Region{info.id, (info.region_flags & STM_REGION_PLAIN) != 0, 0, std::nullopt}));
        settle(*region(info.id), info.region_size);
        STM_FUZZ_EXPECT((info.state & STM_STATE_UNLINKED) == 0 || disturbed_);
        if (free != files_.end())
            *free = std::move(file);
        else
            files_.push_back(std::move(file));
    }
    bool has_room() const {
        return files_.size() < kMostFiles || std::count(files_.begin(), files_.end(), nullptr) != 0;
    }

    long open_minor(unsigned minor, unsigned access, std::size_t node) {
        if (!has_room())
            return 0;
        stm_handle* handle = nullptr;
        const long result = stm_core_open_minor(minor, access, nodes_[node].get(), &handle);
        if (result == 0)
            add(handle, -1, access);
        return result;
    }

    void close(std::size_t place) {
        File& file = *files_[place];
        stm_core_flush(file.handle, simulated::kLastDescriptor);
        // Linux releases a file when there is no descriptor, call or mapping of it any more.
        unmap_everywhere(file);
        file.released = true;
        if (file.descriptor >= 0)
            simulated::close_descriptor(file.descriptor);
        else
            stm_core_release(file.handle);
        files_[place] = nullptr;
    }

    void unmap_everywhere(File& file) {
        simulated::unmap_all(stm_core_view(file.handle));
        file.mappings.clear();
    }

    // The n-th file that is open, or kNobody.
    std::size_t pick(std::size_t number) const {
        std::vector<std::size_t> open;
        for (std::size_t place = 0; place < files_.size(); ++place) {
            if (files_[place] && !files_[place]->released)
                open.push_back(place);
        }
        return open.empty() ? kNobody : open[number % open.size()];
    }

    // ---- transactions --------------------------------------------------------------------------

    Transaction* transaction(const File& file) const { return file.transactions[who_].get(); }
    void forget(File& file, std::size_t actor) {
        file.transactions[actor] = nullptr;
        for (std::size_t& viewer : file.viewers)
            viewer = viewer == actor ? kNobody : viewer;
    }
    // The thread has ended, or called exec.
    void orphan(std::size_t actor) {
        for (const auto& file : files_) {
            if (file)
                forget(*file, actor);
        }
    }
    stm_transaction tell_transaction(const File& file) {
        const Undisturbed quiet;
        stm_transaction own{};
        own.size = sizeof(own);
        STM_FUZZ_EXPECT(stm_core_control(file.handle, STM_IOC_TRANSACTION,
                                         reinterpret_cast<std::uint64_t>(&own)) == 0);
        return own;
    }
    // The error for which everything fails in the caller's transaction, or 0.
    long failure_of(const File& file) {
        switch (tell_transaction(file).doom) {
        case STM_REASON_TOO_BIG:
            return -E2BIG;
        case STM_REASON_NO_MEMORY:
            return -ENOMEM;
        case STM_REASON_OUT_OF_RANGE:
            return -ENOSPC;
        case STM_REASON_CLOSED:
        case STM_REASON_RETRY:
            return -ECANCELED;
        default:
            return 0;
        }
    }
    // A call in the middle of the caller's transaction fails it, unless it is its own buffer that
    // ended, or another commit that was there.
    void expect_failure(const File& file, long result, long before) {
        if (before != 0)
            STM_FUZZ_EXPECT(result == before || result == 0); // of no byte
        if (result == -ENOMEM || result == -E2BIG || result == -ENOSPC || result == -ECANCELED)
            STM_FUZZ_EXPECT(failure_of(file) == result);
    }
    // The caller's transaction is over, but still there, and has no mapping any more.
    void give_up_view(File& file) {
        for (std::size_t& viewer : file.viewers)
            viewer = viewer == who_ ? kNobody : viewer;
        transaction(file)->seen.reset();
        transaction(file)->has_no_view = true;
    }
    // The last descriptor that the caller's process has of the file is closed.
    void lose(File& file) {
        stm_core_flush(file.handle, simulated::kLastDescriptor);
        const Undisturbed quiet;
        for (std::size_t actor = 0; actor < kActors; ++actor) {
            if (!file.transactions[actor] || file.transactions[actor]->has_no_view ||
                actors_[actor].process != process() || (actor != who_ && actors_[actor].calls != 0))
                continue;
            if (actor == who_) // it has closed the file itself, and sees what is committed
                file.transactions[actor]->seen.reset();
            const AsThread it(*actors_[actor].thread);
            STM_FUZZ_EXPECT(tell_transaction(file).doom != STM_REASON_NONE);
        }
    }
    // Of a transaction or a call by itself: EAGAIN means that another commit was there.
    void expect_reason(long result, const Observer& seen) {
        if (result == -EAGAIN)
            STM_FUZZ_EXPECT(seen.may_conflict());
    }

    // Whether a write call by itself is in the middle of its work there: when it takes effect is
    // not known, so what others see is not compared.
    bool in_between(const Region& region) {
        if (writing_ != region.id)
            return false;
        guessed_ = true;
        return true;
    }

    // What is committed, as a new handle sees it; nothing if there can be none.
    std::optional<Bytes> contents(const Region& region) {
        const Undisturbed quiet;
        const As root(simulated::init_process());
        const AsThread reader(auditor_);
        stm_open open{};
        open.size = sizeof(open);
        open.flags = STM_OPEN_READ | STM_OPEN_BY_ID;
        open.id = region.id;
        const long descriptor = stm_core_control(files_[pick(0)]->handle, STM_IOC_OPEN,
                                                 reinterpret_cast<std::uint64_t>(&open));
        if (descriptor < 0)
            return std::nullopt;
        Bytes bytes(region.size, 0xEE);
        simulated::UserBuffer buffer(bytes.data(), bytes.size());
        const unsigned max_stripes = std::exchange(settings_.max_stripes, 1u << 12);
        const long got =
            stm_core_read(simulated::file_at(static_cast<int>(descriptor)).handle, buffer.get(), 0);
        STM_FUZZ_EXPECT(got == static_cast<long>(bytes.size()));
        simulated::close_descriptor(static_cast<int>(descriptor));
        settings_.max_stripes = max_stripes;
        return bytes;
    }
    Bytes contents_or(const Region& region, const Bytes& otherwise) {
        return contents(region).value_or(otherwise);
    }

    // ---- the calls -----------------------------------------------------------------------------

    long control(const Step& step, const File& file, unsigned request, std::uint64_t argument) {
        const long result = stm_core_control(file.handle, request, argument);
        trace("  request %#x of thread %zu: %ld\n", request, who_, result);
        (void)step;
        return result;
    }
    // With a structure: the size that the caller gives varies, and behind it is nothing.
    template <typename Argument>
    long control(const Step& step, const File& file, unsigned request, Argument& argument) {
        std::size_t given = sizeof(argument);
        switch (step.flags >> 5) {
        case 1:
            given += 1 + step.small % 64;
            break;
        case 2:
            given = step.small % (2 * kPage);
            break;
        default:
            break;
        }
        std::vector<std::uint8_t> memory(std::max<std::size_t>(given, sizeof(std::uint32_t)));
        argument.size = static_cast<std::uint32_t>(given);
        std::memcpy(memory.data(), &argument, std::min(memory.size(), sizeof(argument)));
        if (step.flags >> 5 == 1 && step.small % 2 == 0)
            memory.back() = 1;
        const long result =
            control(step, file, request, reinterpret_cast<std::uint64_t>(memory.data()));
        std::size_t first_version = sizeof(argument);
        if constexpr (std::is_same_v<Argument, stm_statistics>)
            first_version = offsetof(stm_statistics, load_faults);
        if (given < first_version)
            STM_FUZZ_EXPECT(result < 0);
        else if (given >= sizeof(argument))
            std::memcpy(&argument, memory.data(), sizeof(argument));
        return result;
    }

    static void name(char (&to)[STM_NAME_SIZE], unsigned which) {
        switch (which % 10) {
        case 7:
            std::memset(to, 'x', sizeof(to)); // without an end
            return;
        case 8:
            std::strcpy(to, "minor:3");
            return;
        case 9:
            std::memset(to, 'y', sizeof(to) - 1);
            to[sizeof(to) - 1] = 0;
            return;
        case 6:
            return; // empty
        case 5:
            std::strcpy(to, "default");
            return;
        default:
            std::strcpy(to, "region ");
            to[6] = static_cast<char>('a' + which % 10);
        }
    }
    std::uint64_t bytes_of(const Step& step) const {
        static constexpr std::uint64_t kSizes[] = {
            0,          1,       kPage,         2 * kPage,     3 * kPage - 1,     4 * kPage,
            64 * kPage, 6 << 20, (8 << 20) - 1, (8 << 20) + 1, ~std::uint64_t{0}, 600 * kPage};
        return kSizes[step.small % std::size(kSizes)];
    }
    std::uint64_t id_of(const Step& step) const {
        if (regions_.empty() || step.large % 8 == 7)
            return step.large;
        const std::uint64_t id = regions_[step.large % regions_.size()]->id;
        return step.large % 8 == 6 ? id + (std::uint64_t{1} << 32) : id;
    }
    // A place in a region, often across a border, and a length.
    std::pair<std::uint64_t, std::size_t> range_of(const Step& step) const {
        static constexpr std::uint64_t kFar[] = {~std::uint64_t{0}, 1ull << 63, 8 << 20,
                                                 1ull << 40};
        std::uint64_t position = step.large % (5 * kPage);
        if (step.large >> 28 == 1)
            position = kFar[step.large % 4] - step.small % 8;
        else if (step.large >> 28 == 2)
            position = step.large % (8 << 20);
        std::size_t length = step.small % 200;
        if (step.small >> 12 == 1)
            length = step.small % (3 * kPage);
        else if (step.small >> 12 == 2)
            length = (step.small & 0xfffu) * 300;
        return {position, length};
    }

    void open_region(const Step& step, File& file) {
        if (!has_room())
            return;
        stm_open open{};
        open.flags = step.large & STM_OPEN_FLAGS;
        if ((step.flags & 8) != 0) // what a program does
            open.flags = STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE;
        if ((step.flags & 16) != 0)
            open.flags = (open.flags & 3u) | 1u | STM_OPEN_BY_ID;
        open.region_flags = step.flags & 7;
        if (step.large >> 27 == 1)
            open.region_flags = step.large >> 8 & 0xff;
        open.mode = (step.large >> 16 & 3) == 0 ? step.large >> 18 & 01777 : 0666;
        open.region_size = bytes_of(step);
        open.id = id_of(step);
        name(open.name, step.large >> 8);
        const std::uint32_t flags = open.flags;
        const long result = control(step, file, STM_IOC_OPEN, open);
        STM_FUZZ_EXPECT(result >= 0 ||
                        expected(result, {EINVAL, E2BIG, ENOENT, EEXIST, EACCES, ENAMETOOLONG,
                                          EFBIG, ENOSPC, ESTALE, EMFILE, ENFILE}));
        if (result < 0)
            return;
        const simulated::FileState state = simulated::file_at(static_cast<int>(result));
        STM_FUZZ_EXPECT(state.handle != nullptr);
        STM_FUZZ_EXPECT(state.access == (flags & (STM_OPEN_READ | STM_OPEN_WRITE)));
        add(state.handle, static_cast<int>(result), state.access);
    }

    bool expected(long result, std::initializer_list<int> documented) const {
        static constexpr int kAlways[] = {EFAULT, ENOMEM, EINTR};
        const auto is = [&](int one) { return result == -one; };
        return std::any_of(documented.begin(), documented.end(), is) ||
               std::any_of(std::begin(kAlways), std::end(kAlways), is) ||
               (failed() && result == simulated::errno_of(fail_->happened()));
    }

    // read and write calls
    void read(const Step& step, std::size_t place) {
        File& file = *files_[place];
        Region& region = region_of(place);
        look_at_size(place);
        const auto [position, length] = range_of(step);
        Bytes bytes(length, 0xEE);
        simulated::UserBuffer buffer(bytes.data(), bytes.size());
        if ((step.flags & 1) != 0 && length != 0)
            buffer.fault_at(step.flags % length);
        std::optional<Observer> alone;
        if (region.history)
            alone.emplace(*region.history);
        const bool shows = region.size != 0;
        Transaction* own = transaction(file);
        const long failed_before = own != nullptr ? failure_of(file) : 0;
        const long result = stm_core_read(file.handle, buffer.get(), position);
        trace("  read %zu at %#zx by thread %zu: %ld\n", length, std::size_t{position}, who_,
              result);
        STM_FUZZ_EXPECT(result >= 0 || expected(result, {EAGAIN, E2BIG, ENOSPC, EDEADLK, EACCES,
                                                         EFBIG, ECANCELED}));
        STM_FUZZ_EXPECT(buffer.consumed() == static_cast<std::size_t>(std::max(result, 0l)));
        if (own != nullptr)
            expect_failure(file, result, failed_before);
        look_at_size(place);
        if (result > 0)
            STM_FUZZ_EXPECT(position + static_cast<std::size_t>(result) <= region.size);
        if (!shows || !region.history)
            return;
        if (in_between(region)) {
            if (own != nullptr)
                own->seen.reset();
            return;
        }
        if (own != nullptr && !own->seen)
            return;
        Observer& seen = own != nullptr ? *own->seen : *alone;
        if (own != nullptr)
            expect_reason(result, seen);
        if (result > 0)
            seen.saw(position, bytes.data(), static_cast<std::size_t>(result));
    }

    void write(const Step& step, std::size_t place) {
        File& file = *files_[place];
        Region& region = region_of(place);
        look_at_size(place);
        const auto [position, length] = range_of(step);
        Bytes bytes(length);
        for (std::size_t i = 0; i < length; ++i)
            bytes[i] = static_cast<std::uint8_t>(++value_ >> (i % 3));
        simulated::UserBuffer buffer(bytes.data(), bytes.size());
        if ((step.flags & 1) != 0 && length != 0)
            buffer.fault_at(step.flags % length);
        const bool was_sized = region.size != 0;
        const Bytes before = region.history ? region.history->last() : Bytes();
        const bool by_itself = transaction(file) == nullptr;
        const long failed_before = by_itself ? 0 : failure_of(file);
        const std::uint64_t outer = writing_;
        if (by_itself && outer != region.id) {
            writing_ = region.id;
            guessed_ = false;
        }
        const long result = stm_core_write(file.handle, buffer.get(), position);
        writing_ = outer;
        trace("  write %zu at %#zx by thread %zu: %ld\n", length, std::size_t{position}, who_,
              result);
        STM_FUZZ_EXPECT(result >= 0 || expected(result, {EAGAIN, E2BIG, ENOSPC, EDEADLK, EACCES,
                                                         EFBIG, ECANCELED}));
        STM_FUZZ_EXPECT(buffer.consumed() == static_cast<std::size_t>(std::max(result, 0l)));
        if (!by_itself)
            expect_failure(file, result, failed_before);
        look_at_size(place);
        if (result > 0)
            STM_FUZZ_EXPECT(position + static_cast<std::size_t>(result) <= region.size);
        if (!region.history)
            return;
        const auto count = static_cast<std::size_t>(std::max(result, 0l));
        if (Transaction* own = transaction(file)) {
            if (!own->seen)
                return;
            expect_reason(result, *own->seen);
            for (std::size_t i = 0; i < count;) {
                const std::size_t page = (position + i) / kPage;
                const std::size_t part = std::min(count - i, kPage - (position + i) % kPage);
                own->seen->wrote(position + i, bytes.data() + i, part,
                                 own->touched[page] ? Observer::Way::if_different
                                                    : Observer::Way::hard);
                i += part;
            }
            return;
        }
        if (count == 0 && !(disturbed_ && guessed_))
            return;
        if (in_between(region)) {
            region.history->write(position, bytes.data(), count);
            return;
        }
        if (!disturbed_ || !was_sized) {
            region.history->write(position, bytes.data(), count);
            return;
        }
        // Another call came before it, or behind it.
        Bytes last = region.history->last();
        std::copy_n(bytes.begin(), count, last.begin() + static_cast<long>(position));
        Bytes first = before;
        std::copy_n(bytes.begin(), count, first.begin() + static_cast<long>(position));
        for (std::size_t i = 0; i < first.size(); ++i) {
            if (region.history->last()[i] != before[i])
                first[i] = region.history->last()[i];
        }
        const Bytes actual = contents_or(region, last);
        STM_FUZZ_EXPECT(guessed_ || actual == last || actual == first);
        region.history->replace(actual);
        // Which state lay in between is not known.
        for (const auto& other : files_) {
            if (other && other->region == region.id) {
                for (auto& one : other->transactions) {
                    if (one)
                        one->seen.reset();
                }
            }
        }
    }

    // START, COMMIT and the like
    void start(const Step& step, std::size_t place) {
        File& file = *files_[place];
        const std::uint64_t flags = (step.flags & 7) == 1   ? STM_START_RESTART
                                    : (step.flags & 7) == 2 ? step.large
                                                            : 0;
        const std::uint64_t signal = (step.flags & 8) != 0 ? STM_START_SIGNAL(step.small % 66) : 0;
        const std::uint64_t site = STM_START_SITE(step.large >> 3 & 3);
        look_at_size(place);
        std::optional<Observer> seen;
        if (region_of(place).history)
            seen.emplace(*region_of(place).history);
        const bool was_sized = region_of(place).size != 0;
        const std::size_t depth = transaction(file) != nullptr ? transaction(file)->depth : 0;
        const long result = control(step, file, STM_IOC_START, flags | signal | site);
        STM_FUZZ_EXPECT(result >= 0 ||
                        expected(result, {EINVAL, EOPNOTSUPP, EINTR, E2BIG, EBUSY, EAGAIN, ENOSPC,
                                          EDEADLK, EACCES, EFBIG, ECANCELED}));
        look_at_size(place);
        if (region_of(place).plain)
            STM_FUZZ_EXPECT(result < 0);
        const bool restart = (flags & 0xff) == STM_START_RESTART;
        if (result < 0) {
            if (result == -EBUSY) {
                const std::size_t viewer = file.viewers[process()];
                STM_FUZZ_EXPECT(viewer != kNobody && viewer != who_);
            }
            const std::size_t left = tell_transaction(file).depth;
            STM_FUZZ_EXPECT(left == depth || (restart && left == 0));
            if (left == 0)
                forget(file, who_);
            return;
        }
        if (!restart && depth != 0) {
            STM_FUZZ_EXPECT(result == static_cast<long>(depth + 1));
            Transaction& own = *transaction(file);
            ++own.depth;
            if (own.seen)
                own.seen->begin_nested();
            return;
        }
        STM_FUZZ_EXPECT(result == 1);
        forget(file, who_);
        Region& region = region_of(place);
        auto fresh = std::make_unique<Transaction>();
        if (region.history && was_sized)
            fresh->seen = std::move(seen);
        else if (region.history)
            fresh->seen.emplace(*region.history);
        // Predicted pages are there from the start.
        fresh->touched.resize(region.size / kPage, site != 0);
        file.transactions[who_] = std::move(fresh);
        if (file.was_mapped)
            file.viewers[process()] = who_;
    }

    void commit(const Step& step, std::size_t place) {
        File& file = *files_[place];
        const std::uint64_t argument = (step.flags & 7) == 7 ? step.large : 0;
        const long failure = transaction(file) != nullptr ? failure_of(file) : 0;
        const long result = control(step, file, STM_IOC_COMMIT, argument);
        STM_FUZZ_EXPECT(result == 0 || expected(result, {EINVAL, EAGAIN, EINTR, E2BIG, EDEADLK,
                                                         ENOSPC, ECANCELED}));
        Transaction* own = transaction(file);
        if (argument != 0 || own == nullptr) {
            STM_FUZZ_EXPECT(result == -EINVAL);
            return;
        }
        if (own->depth > 1) {
            STM_FUZZ_EXPECT(result == failure || disturbed_);
            --own->depth;
            if (own->seen)
                own->seen->commit_nested();
            return;
        }
        STM_FUZZ_EXPECT(result != -EINVAL);
        if (failure != 0)
            STM_FUZZ_EXPECT(result == failure);
        Region& region = region_of(place);
        if (in_between(region))
            own->seen.reset();
        if (own->seen)
            expect_reason(result, *own->seen);
        if (result == 0 && region.history) {
            const std::optional<Bytes> actual = contents(region);
            if (!actual)
                region.history.reset(); // without a name nobody can look
            else if (own->seen)
                own->seen->committed(*region.history, *actual);
            else
                region.history->replace(*actual);
        }
        forget(file, who_);
        if (!region.history)
            forget_model(region);
    }
    // What its transactions see is not compared any more.
    void forget_model(const Region& region) {
        for (const auto& file : files_) {
            if (!file || file->region != region.id)
                continue;
            for (auto& one : file->transactions) {
                if (one)
                    one->seen.reset();
            }
        }
    }

    void cancel(const Step& step, std::size_t place) {
        File& file = *files_[place];
        const std::uint64_t argument = (step.flags & 7) == 7   ? step.large
                                       : (step.flags & 7) == 5 ? STM_CANCEL_ALL | STM_CANCEL_KEEP
                                       : (step.flags & 1) != 0 ? STM_CANCEL_ALL
                                                               : 0;
        const long result = control(step, file, STM_IOC_CANCEL, argument);
        Transaction* own = transaction(file);
        if (own == nullptr || argument > STM_CANCEL_FLAGS || argument == STM_CANCEL_KEEP) {
            STM_FUZZ_EXPECT(result == -EINVAL);
            return;
        }
        STM_FUZZ_EXPECT(result == 0);
        if (argument == STM_CANCEL_FLAGS) {
            STM_FUZZ_EXPECT(tell_transaction(file).doom != STM_REASON_NONE);
            give_up_view(file);
            return;
        }
        if (own->depth == 1 || argument == STM_CANCEL_ALL) {
            forget(file, who_);
            return;
        }
        --own->depth;
        if (own->seen)
            own->seen->cancel_nested();
    }

    void validate(const Step& step, std::size_t place) {
        File& file = *files_[place];
        const std::uint64_t argument = (step.flags & 7) == 7 ? 2 : step.flags & STM_VALIDATE_GO_ON;
        const long result = control(step, file, STM_IOC_VALIDATE, argument);
        Transaction* own = transaction(file);
        if (own == nullptr || argument > STM_VALIDATE_GO_ON) {
            STM_FUZZ_EXPECT(result == -EINVAL);
            return;
        }
        if (result == -EAGAIN && argument == STM_VALIDATE_GO_ON)
            own->seen.reset(); // what it sees from here on need not fit together
        STM_FUZZ_EXPECT(result == 0 || result == -EAGAIN || result == failure_of(file));
        if (own->seen)
            expect_reason(result, *own->seen);
    }

    void wait(const Step& step, std::size_t place) {
        File& file = *files_[place];
        stm_wait argument{};
        argument.flags =
            (step.flags & 7) == 7 ? 4 : step.flags >> 3 & (STM_WAIT_KEEP | STM_WAIT_UNTIL);
        argument.timeout_ns = (step.flags & 1) != 0 ? STM_WAIT_FOREVER : step.large;
        const bool keeps = argument.flags < 4 && (argument.flags & STM_WAIT_KEEP) != 0;
        constexpr long kCallAgain = -512; // ERESTARTSYS, which Linux keeps to itself
        const std::size_t depth = transaction(file) != nullptr ? transaction(file)->depth : 0;
        const long result = control(step, file, STM_IOC_WAIT, argument);
        STM_FUZZ_EXPECT(
            result == 0 || (result == kCallAgain && keeps) ||
            expected(result, {EINVAL, E2BIG, ETIMEDOUT, EINTR, EDEADLK, ENOSPC, ECANCELED}));
        const Transaction* own = transaction(file);
        if (result == 0 && own != nullptr && own->seen)
            STM_FUZZ_EXPECT(own->seen->may_conflict());
        if (own == nullptr)
            STM_FUZZ_EXPECT(result < 0 && result != -ETIMEDOUT);
        const std::size_t left = tell_transaction(file).depth;
        STM_FUZZ_EXPECT(left == 0 || left == depth);
        if (result == 0)
            STM_FUZZ_EXPECT(left == 0);
        if (result == -ETIMEDOUT)
            STM_FUZZ_EXPECT(left == (keeps ? depth : 0));
        if (left == 0)
            forget(file, who_);
        else if (keeps && (result == -ETIMEDOUT || result == kCallAgain))
            give_up_view(file);
    }

    void transaction_info(const Step& step, std::size_t place) {
        File& file = *files_[place];
        stm_transaction argument{};
        argument.flags = (step.flags & 7) == 7 ? 1 : 0;
        const long result = control(step, file, STM_IOC_TRANSACTION, argument);
        STM_FUZZ_EXPECT(result == 0 || expected(result, {EINVAL, E2BIG}));
        if (result == 0)
            STM_FUZZ_EXPECT(argument.depth ==
                            (transaction(file) != nullptr ? transaction(file)->depth : 0));
    }

    // mappings
    void map(const Step& step, std::size_t place) {
        File& file = *files_[place];
        std::uint64_t first = step.small % 6;
        std::uint64_t pages = 1 + step.large % 4;
        if ((step.flags & 8) != 0)
            pages = std::max(step.large, 1u);
        if ((step.flags & 16) != 0)
            first = ~std::uint64_t{0} - step.small % 8;
        unsigned allowed = 0;
        long result = 0;
        {
            const MmapLock held;
            result = stm_core_map(file.handle, first, pages, step.flags & 3, &allowed);
        }
        trace("  map %zu pages at %zu by thread %zu: %ld\n", std::size_t{pages}, std::size_t{first},
              who_, result);
        STM_FUZZ_EXPECT(result == 0 || expected(result, {EINVAL, EACCES, EBUSY, ENOSPC, EFBIG}));
        look_at_size(place);
        if (result != 0)
            return;
        const Region& region = region_of(place);
        STM_FUZZ_EXPECT(pages <= region.size / kPage && first <= region.size / kPage - pages);
        STM_FUZZ_EXPECT(((allowed & STM_MAP_PLAIN) != 0) == region.plain);
        STM_FUZZ_EXPECT((allowed & STM_MAP_EXEC) == 0 || (allowed & STM_MAP_WRITE) == 0);
        file.mappings.push_back(Mapping{process(), first, pages, (allowed & STM_MAP_WRITE) != 0});
        if (!region.plain) {
            // A transaction that runs already gets it.
            for (std::size_t actor = 0; actor < kActors; ++actor) {
                if (file.transactions[actor] && !file.transactions[actor]->has_no_view &&
                    actors_[actor].process == process() && file.viewers[process()] != actor) {
                    STM_FUZZ_EXPECT(file.viewers[process()] == kNobody);
                    file.viewers[process()] = actor;
                }
            }
            file.was_mapped = true;
        }
    }

    enum class Access { load, store };
    void touch(const Step& step, std::size_t place, Access access) {
        File& file = *files_[place];
        std::vector<const Mapping*> own;
        for (const Mapping& mapping : file.mappings) {
            if (mapping.process == process())
                own.push_back(&mapping);
        }
        if (own.empty())
            return;
        const Mapping& mapping = *own[step.flags % own.size()];
        if (access == Access::store && !mapping.writable)
            return;
        Region& region = region_of(place);
        const std::size_t index = mapping.first + step.large % mapping.pages;
        const std::size_t offset = step.large >> 8 & (kPage - 1);
        const std::size_t count = std::min<std::size_t>(kPage - offset, 1 + step.small % 100);

        stm_fault fault{};
        fault.index = index;
        fault.first = region.plain && step.small % 2 == 0 ? mapping.first : index;
        fault.last = region.plain ? mapping.first + mapping.pages - 1 : index;
        fault.write = access == Access::store;
        fault.memory = simulated::current_memory();
        fault.address = simulated::address_of(index);
        stm_page* page = nullptr;
        stm_fault_result result = STM_FAULT_MAP;
        stm_view* const view = stm_core_view(file.handle);
        {
            const MmapLock held;
            if (region.plain) {
                result = stm_core_fault(file.handle, &fault);
            } else if (simulated::touch(view, index, access == Access::store)) {
                page = simulated::mapped_page(view, index);
            } else if (stm_page* mapped = simulated::mapped_page(view, index)) {
                page = mapped;
                result = stm_core_make_writable(file.handle, &fault, mapped);
                if (result == STM_FAULT_MAP)
                    simulated::map_page(view, index, mapped, true);
            } else {
                result = stm_core_transactional_fault(file.handle, &fault);
                if (result == STM_FAULT_MAP) {
                    STM_FUZZ_EXPECT(fault.count == 1);
                    simulated::map_page(view, index, fault.pages[0], false);
                    if (access == Access::store)
                        result = stm_core_make_writable(file.handle, &fault, fault.pages[0]);
                    if (result == STM_FAULT_MAP && access == Access::store)
                        simulated::map_page(view, index, fault.pages[0], true);
                }
            }
        }
        if (result == STM_FAULT_MAP && page == nullptr)
            page = fault.pages[region.plain ? index - fault.first : 0];
        trace("  %s page %zu + %zu by thread %zu: %d\n", access == Access::store ? "store" : "load",
              index, offset, who_, result);
        const std::size_t viewer = region.plain ? kNobody : file.viewers[process()];
        if (!region.plain && viewer == kNobody && access == Access::store)
            STM_FUZZ_EXPECT(result != STM_FAULT_MAP && "a store outside of a transaction");
        if (result == STM_FAULT_NO_MEMORY)
            STM_FUZZ_EXPECT(failed());
        if (result != STM_FAULT_MAP) {
            STM_FUZZ_EXPECT(result != STM_FAULT_OUTSIDE || viewer != kNobody);
            if (access == Access::load && viewer == kNobody)
                STM_FUZZ_EXPECT(result == STM_FAULT_NO_MEMORY);
            return;
        }
        STM_FUZZ_EXPECT(!region.plain || fault.count <= STM_FAULT_BATCH);
        Transaction* transaction = viewer == kNobody ? nullptr : file.transactions[viewer].get();
        if (transaction != nullptr)
            transaction->touched[index] = true;
        std::uint8_t* const bytes = simulated::page_bytes(page) + offset;
        const std::size_t position = index * kPage + offset;
        if (region.history && in_between(region) && transaction != nullptr)
            transaction->seen.reset();
        if (!region.history || in_between(region) ||
            (transaction != nullptr && !transaction->seen)) {
            // Not compared; stored all the same.
        } else if (transaction != nullptr) {
            transaction->seen->saw(position, bytes, count);
        } else {
            STM_FUZZ_EXPECT(
                std::equal(bytes, bytes + count, region.history->last().data() + position));
        }
        if (access == Access::load)
            return;
        Bytes fresh(count);
        for (std::uint8_t& byte : fresh)
            byte = (step.flags & 8) != 0 ? bytes[0] : static_cast<std::uint8_t>(++value_);
        std::copy(fresh.begin(), fresh.end(), bytes);
        if (!region.history)
            return;
        if (transaction == nullptr)
            region.history->write(position, fresh.data(), count);
        else if (transaction->seen)
            transaction->seen->wrote(position, fresh.data(), count, Observer::Way::if_different);
    }

    void unmap(std::size_t place, bool dontneed) {
        File& file = *files_[place];
        simulated::unmap_own(stm_core_view(file.handle));
        if (!dontneed)
            std::erase_if(file.mappings,
                          [&](const Mapping& mapping) { return mapping.process == process(); });
    }

    // the ends of threads and programs
    void end(std::size_t actor) {
        actors_[actor].thread->end();
        finished_.push_back(std::move(actors_[actor].thread));
        actors_[actor].thread = std::make_unique<OtherThread>();
        orphan(actor);
    }
    void end_thread() {
        end(who_);
        after_end();
    }
    // But those that are in the middle of a call.
    void end_other_threads() {
        for (std::size_t actor = 0; actor < kActors; ++actor) {
            if (actor != who_ && actors_[actor].process == process() && actors_[actor].calls == 0)
                end(actor);
        }
    }
    void exec() {
        end_other_threads();
        simulated::exec();
        orphan(who_);
        after_end();
    }
    // Those who share its files by fork go on with them; its next threads are of another process.
    void exit() {
        end_other_threads();
        for (std::size_t place = 0; place < files_.size(); ++place) {
            if (files_[place] && !files_[place]->released)
                unmap(place, false);
        }
        for (std::size_t place = 0; place < files_.size(); ++place) {
            if (!files_[place] || files_[place]->released)
                continue;
            lose(*files_[place]);
            forget(*files_[place], who_);
        }
        end_thread();
    }
    void after_end() {
        const Undisturbed quiet;
        // What the dead stored leaves the mappings within watchdog_ms.
        simulated::run_timers();
    }

    // the books
    void info(const Step& step, File& file) {
        stm_info argument{};
        argument.flags = 1u << step.large % 6;
        argument.id = id_of(step);
        argument.minor = step.small % 20;
        name(argument.name, step.large >> 8);
        const long result = control(step, file, STM_IOC_INFO, argument);
        STM_FUZZ_EXPECT(result == 0 ||
                        expected(result, {EINVAL, E2BIG, ENOENT, ESTALE, ENAMETOOLONG}));
    }
    void statistics(const Step& step, File& file) {
        stm_statistics argument{};
        argument.flags = 1u << step.large % 5;
        if ((step.flags & 1) != 0)
            argument.flags = STM_BY_HANDLE | STM_STATISTICS_OF_HANDLE;
        argument.id = id_of(step);
        name(argument.name, step.large >> 8);
        const long result = control(step, file, STM_IOC_STATISTICS, argument);
        STM_FUZZ_EXPECT(result == 0 ||
                        expected(result, {EINVAL, E2BIG, ENOENT, ESTALE, ENAMETOOLONG}));
        if (result == 0)
            STM_FUZZ_EXPECT(argument.waiting == 0 || disturbed_);
    }
    void attachments(const Step& step, File& file) {
        std::vector<stm_attachment> list(step.small % 8);
        stm_attachments argument{};
        argument.flags = 1u << step.large % 5;
        argument.id = id_of(step);
        argument.capacity =
            (step.flags & 1) != 0 ? static_cast<std::uint32_t>(list.size()) : step.large >> 16;
        // More than there are is told only where they fit.
        if (argument.capacity > list.size())
            list.resize(std::min<std::size_t>(argument.capacity, 64));
        argument.buffer = reinterpret_cast<std::uint64_t>(list.data());
        if ((step.flags & 2) != 0)
            argument.buffer = step.small % simulated::kLowestAddress;
        name(argument.name, step.large >> 8);
        const long result = control(step, file, STM_IOC_ATTACHMENTS, argument);
        STM_FUZZ_EXPECT(result == 0 ||
                        expected(result, {EINVAL, E2BIG, ENOENT, ESTALE, ENAMETOOLONG}));
    }
    void destroy(const Step& step, File& file) {
        stm_destroy argument{};
        argument.flags =
            (1u << step.large % 4) | ((step.flags & 1) != 0 ? STM_DESTROY_DEFERRED : 0);
        if ((step.flags & 2) != 0)
            argument.flags = step.large;
        argument.id = id_of(step);
        name(argument.name, step.large >> 8);
        const long result = control(step, file, STM_IOC_DESTROY, argument);
        STM_FUZZ_EXPECT(result == 0 || expected(result, {EINVAL, E2BIG, ENOENT, ESTALE, EPERM,
                                                         EBUSY, ENAMETOOLONG}));
    }
    void set_size(const Step& step, std::size_t place) {
        stm_set_size argument{};
        argument.region_size = bytes_of(step);
        argument.flags = (step.flags & 7) == 7 ? 1 : 0;
        look_at_size(place);
        const std::uint64_t before = region_of(place).size;
        const long result = control(step, *files_[place], STM_IOC_SET_SIZE, argument);
        STM_FUZZ_EXPECT(result == 0 ||
                        expected(result, {EINVAL, E2BIG, EBUSY, EFBIG, ENOSPC, EBADF, EACCES}));
        look_at_size(place);
        if (result == 0) {
            STM_FUZZ_EXPECT(argument.region_size == region_of(place).size);
            STM_FUZZ_EXPECT((files_[place]->access & STM_ACCESS_WRITE) != 0);
        } else if (!disturbed_) {
            STM_FUZZ_EXPECT(region_of(place).size == before);
        }
    }
    void version(const Step& step, File& file) {
        stm_version argument{};
        argument.flags = (step.flags & 7) == 7 ? 1 : 0;
        argument.reserved = (step.flags & 7) == 6 ? 1 : 0;
        const long result = control(step, file, STM_IOC_VERSION, argument);
        STM_FUZZ_EXPECT(result == 0 || expected(result, {EINVAL, E2BIG}));
    }
    void any_request(const Step& step, File& file) {
        static constexpr unsigned kRequests[] = {
            STM_IOC_VERSION,     STM_IOC_OPEN,    STM_IOC_SET_SIZE, STM_IOC_INFO,
            STM_IOC_ATTACHMENTS, STM_IOC_DESTROY, STM_IOC_WAIT,     STM_IOC_STATISTICS,
            STM_IOC_TRANSACTION, STM_IOC_CELL};
        if ((step.flags & 1) != 0) {
            // Addresses that lead nowhere.
            const long result = control(step, file, kRequests[step.large % std::size(kRequests)],
                                        std::uint64_t{step.small % simulated::kLowestAddress});
            STM_FUZZ_EXPECT(expected(result, {}));
            return;
        }
        const unsigned request = step.large;
        const bool known = (request & ~0x1fu) == STM_IOC_VERSION;
        if (!known)
            STM_FUZZ_EXPECT(control(step, file, request, std::uint64_t{step.small}) == -ENOTTY);
    }
    void look(const Step& step, File& file) {
        stm_core_poll_ready(file.handle);
        stm_core_poll_queue(file.handle);
        stm_info info{};
        stm_core_describe(file.handle, &info);
        const long long size = stm_core_size(file.handle);
        STM_FUZZ_EXPECT(size > 0 || expected(static_cast<long>(size), {EACCES, ENOSPC, EFBIG}));
        (void)step;
    }
    void change_settings(const Step& step) {
        settings_.max_contexts = 1 + step.small % 4;
        settings_.serial_after = step.small >> 2 & 3;
        settings_.max_stripes = (step.flags & 1) != 0 ? 1 << 12 : 1 + (step.small >> 4 & 0x7f);
        settings_.serial_lease_ms = (step.flags & 2) != 0 ? 1000 : 0;
        settings_.max_user_regions = 1 + step.large % 6;
        settings_.max_bytes = ((step.flags & 4) != 0 ? 24 : 1) << 20;
    }
    void change_rights(const Step& step, const File& file) {
        stm_identity* identity = simulated::identity_of(stm_core_view(file.handle));
        simulated::change_mode(identity, step.small & 0777);
        if ((step.flags & 1) != 0)
            simulated::change_owner(identity, 1000 + step.large % 2, 1000);
    }

    // Sums of what is there.
    void check_books() {
        const As root(simulated::init_process());
        const AsThread auditor(auditor_);
        const File& any = *files_[pick(0)];
        std::uint64_t bytes = 0;
        std::uint32_t named = 0;
        for (std::uint32_t minor = 0;;) {
            stm_info info{};
            info.size = sizeof(info);
            info.flags = STM_BY_NEXT;
            info.minor = minor;
            if (stm_core_control(any.handle, STM_IOC_INFO,
                                 reinterpret_cast<std::uint64_t>(&info)) != 0)
                break;
            minor = info.minor + 1;
            ++named;
            bytes += info.region_size;
            const auto handles = std::count_if(files_.begin(), files_.end(), [&](const auto& one) {
                return one && one->region == info.id;
            });
            // Those of minor 0 count from their first use on.
            STM_FUZZ_EXPECT(info.minor == 0 || info.handles == handles);
            STM_FUZZ_EXPECT(info.resident_bytes <= info.region_size);
            Region* known = region(info.id);
            if (known == nullptr) // by a failed STM_IOC_OPEN there is none
                STM_FUZZ_EXPECT(info.handles == 0);
            else if (known->history && known->size != 0)
                STM_FUZZ_EXPECT(contents_or(*known, known->history->last()) ==
                                known->history->last());
        }
        for (const auto& one : regions_) {
            const auto user = std::find_if(files_.begin(), files_.end(), [&](const auto& file) {
                return file && file->region == one->id;
            });
            if (user != files_.end() && (info_of(**user).state & STM_STATE_UNLINKED) != 0)
                bytes += info_of(**user).region_size;
        }
        stm_version version{};
        version.size = sizeof(version);
        STM_FUZZ_EXPECT(stm_core_control(any.handle, STM_IOC_VERSION,
                                         reinterpret_cast<std::uint64_t>(&version)) == 0);
        STM_FUZZ_EXPECT(version.regions == named);
        STM_FUZZ_EXPECT(version.bytes == bytes);
    }

    static constexpr std::size_t kMostFiles = 12;

    stm_settings settings_ = usual_settings();
    std::array<simulated::Node, 2> nodes_{simulated::Node(0, 0, 0666),
                                          simulated::Node(1000, 1000, 0640)};
    std::array<std::unique_ptr<Process>, kProcesses> processes_;
    std::array<Actor, kActors> actors_;
    OtherThread auditor_;
    std::vector<std::unique_ptr<OtherThread>> finished_;
    std::vector<std::unique_ptr<File>> files_;
    std::vector<std::unique_ptr<Region>> regions_;
    Input* input_ = nullptr;
    std::size_t who_ = 0;
    const FailPoint* fail_ = nullptr;
    std::uint64_t writing_ = ~std::uint64_t{0}; // the region of a write call by itself
    bool guessed_ = false;                      // by others, meanwhile
    bool disturbed_ = false;
    unsigned value_ = 0;
};

void World::act(const Step& step) {
    const std::size_t place = pick(step.object);
    File& file = *files_[place];
    trace("step %u by thread %zu on file %zu (fail %u, interleave %u)\n", step.what % 32u, who_,
          place, step.fail, step.interleave);
    ++file.calls;
    bool closed = false;
    switch (step.what % 32) {
    case 0:
        open_minor(step.small % 4 == 0 ? step.small % 20 : step.small % 6, step.flags & 3,
                   step.flags >> 2 & 1);
        break;
    case 1:
    case 2:
        open_region(step, file);
        break;
    case 3:
        // One is always open, for the questions.
        if (file.calls == 1 && place != 0) {
            closed = true;
            close(place);
        }
        break;
    case 4:
        if (step.flags % 2 == 0)
            stm_core_flush(file.handle, simulated::still_open());
        else
            lose(file);
        break;
    case 5:
    case 6:
    case 7:
        if ((file.access & STM_ACCESS_READ) != 0)
            read(step, place);
        break;
    case 8:
    case 9:
    case 10:
        if ((file.access & STM_ACCESS_WRITE) != 0)
            write(step, place);
        break;
    case 11:
        set_size(step, place);
        break;
    case 12:
        info(step, file);
        break;
    case 13:
        attachments(step, file);
        break;
    case 14:
        destroy(step, file);
        break;
    case 15:
    case 16:
        start(step, place);
        break;
    case 17:
    case 18:
        commit(step, place);
        break;
    case 19:
        cancel(step, place);
        break;
    case 20:
        validate(step, place);
        break;
    case 21:
        wait(step, place);
        break;
    case 22:
        transaction_info(step, place);
        break;
    case 23:
        statistics(step, file);
        break;
    case 24:
        map(step, place);
        break;
    case 25:
        touch(step, place, Access::load);
        break;
    case 26:
        touch(step, place, Access::store);
        break;
    case 27:
        unmap(place, (step.flags & 1) != 0);
        break;
    case 28:
        if ((step.flags & 1) != 0)
            exec();
        else if ((step.flags & 2) != 0)
            exit();
        else
            end_thread();
        break;
    case 29:
        if ((step.flags & 1) != 0)
            simulated::run_timers();
        else
            any_request(step, file);
        break;
    case 30:
        if ((step.flags & 1) != 0)
            version(step, file);
        else
            look(step, file);
        break;
    default:
        if ((step.flags & 16) != 0)
            change_settings(step);
        else
            change_rights(step, file);
        break;
    }
    if (!closed)
        --file.calls;
}

} // namespace
} // namespace stm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const stm::simulated::Live before = stm::simulated::live();
    {
        stm::fuzz::World world;
        stm::fuzz::Input input(data, size);
        world.run(input);
    }
    STM_FUZZ_EXPECT(stm::simulated::live() == before);
    return 0;
}
