// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/callers.hpp"

#include "tests/unit/kernel/simulated/address_space.hpp"
#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"
#include "tests/unit/kernel/simulated/thread.hpp"

#include <cstring>
#include <functional>
#include <utility>

namespace stm::simulated {

namespace {

void put(stm_process* process) {
    if (was_last(process, "a process is given back once too often"))
        delete process;
}

void put(stm_thread* one) {
    if (was_last(one, "a thread is given back once too often"))
        delete one;
}

// The identity of the calling thread for the core. It ends with the thread.
class ThreadIdentity {
public:
    ThreadIdentity() : thread_(new stm_thread) {
        static std::atomic<int> next{10'000};
        thread_->id = next.fetch_add(1, kRelaxed);
    }
    ~ThreadIdentity() {
        thread_->ended.store(true, std::memory_order_release);
        put(thread_);
    }
    stm_thread* get() const { return thread_; }

private:
    stm_thread* thread_;
};

} // namespace

stm_thread* current_thread() {
    if (thread.acts_as != nullptr)
        return thread.acts_as;
    static thread_local ThreadIdentity identity;
    return identity.get();
}

Process::Process(int pid, Credential who, const char* command, std::uint32_t mask)
    : credential(who), umask(mask), pid_(pid), process_(new stm_process) {
    process_->pid = pid;
    process_->memory = new stm_memory;
    std::strncpy(process_->command, command, sizeof(process_->command) - 1);
}

Process::~Process() {
    exit();
    process_->memory->ended = true;
    put(std::exchange(process_->memory, nullptr));
    put(process_);
}

void Process::exit() {
    process_->gone = true;
}

void Process::move_to_the_place_of_an_ended_memory() {
    stm_memory* const place = new_memory_in_an_ended_ones_place();
    put(std::exchange(process_->memory, place));
}

Process& init_process() {
    static Process init(1, kRoot, "init");
    return init;
}

OtherThread::OtherThread() : thread_(new stm_thread) {
    static std::atomic<int> next{1'000'000};
    thread_->id = next.fetch_add(1, kRelaxed);
}

OtherThread::~OtherThread() {
    end();
    put(thread_);
}

void OtherThread::end() {
    thread_->ended.store(true, std::memory_order_release);
}

AsThread::AsThread(OtherThread& one) : before_(std::exchange(thread.acts_as, one.thread_)) {
}

AsThread::~AsThread() {
    thread.acts_as = before_;
}

As::As(Process& process) : before_(std::exchange(thread.caller, &process)) {
}

As::~As() {
    thread.caller = before_;
}

void exec() {
    current_thread()->exec_id.fetch_add(1, kRelaxed);
}

void exec(const std::function<void()>& close) {
    stm_process* const process = Caller::reference();
    stm_memory* const before = std::exchange(process->memory, new stm_memory);
    before->ended = true;
    put(before);
    current_thread()->memory.store(process->memory, kRelaxed);
    close();
    exec();
}

std::vector<int> take_signals() {
    stm_thread* self = current_thread();
    const std::lock_guard held(self->lock);
    return std::exchange(self->signals, {});
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

stm_process* stm_linux_process_current() {
    stm_process* process = Caller::reference();
    process->references.fetch_add(1);
    counters.process_references.fetch_add(1, kRelaxed);
    return process;
}
void stm_linux_process_put(stm_process* process) {
    put(process);
    counters.process_references.fetch_sub(1, kRelaxed);
}
__s32 stm_linux_process_describe(stm_process* process, char command[16]) {
    std::memset(command, 0, 16);
    if (!process->gone && process->pid != 0)
        std::memcpy(command, process->command, 16);
    return process->pid;
}

stm_thread* stm_linux_thread_current() {
    stm_thread* self = current_thread();
    self->references.fetch_add(1);
    counters.thread_references.fetch_add(1, kRelaxed);
    return self;
}

void stm_linux_thread_put(stm_thread* thread_to_put) {
    put(thread_to_put);
    counters.thread_references.fetch_sub(1, kRelaxed);
}

int stm_linux_thread_is_current(const stm_thread* one) {
    return one == current_thread();
}

int stm_linux_thread_is_alive(stm_thread* one) {
    return !one->ended.load(std::memory_order_acquire);
}

int stm_linux_thread_runs(stm_thread* one, __u64 exec_id) {
    return stm_linux_thread_is_alive(one) != 0 && one->exec_id.load(kRelaxed) == exec_id;
}

int stm_linux_is_program_address(__u64 address) {
    return address >> 47 == 0;
}

int stm_linux_thread_is_in(stm_thread* one, const stm_memory* memory) {
    return stm_linux_thread_is_alive(one) != 0 && one->memory.load(kRelaxed) == memory;
}

int stm_linux_thread_is_of_process(stm_thread* one) {
    return one->memory.load(kRelaxed) == current_memory();
}

int stm_linux_thread_shares_descriptors(stm_thread* one) {
    expect(!thread.held.empty(), "a thread is asked about with no lock that keeps it");
    // One that ends has given its descriptors back.
    return stm_linux_thread_is_alive(one) != 0 &&
           stm_linux_thread_is_alive(current_thread()) != 0 &&
           one->memory.load(kRelaxed) == current_memory();
}

__s32 stm_linux_thread_id(stm_thread* one) {
    return one->id;
}

void stm_linux_thread_signal(stm_thread* one, __u64 exec_id, int signal) {
    const Service service("thread_signal", Context::any);
    if (one->ended || one->exec_id.load(kRelaxed) != exec_id)
        return;
    const std::lock_guard held(one->lock);
    one->signals.push_back(signal);
}

__u64 stm_linux_exec_id() {
    return current_thread()->exec_id.load(kRelaxed);
}

__u32 stm_linux_current_user() {
    return Caller::credential().uid;
}

int stm_linux_may_exceed_limits() {
    return Caller::credential().exceeds_limits;
}

void stm_linux_caller_ids(stm_ids* ids) {
    ids->uid = Caller::credential().uid;
    ids->gid = Caller::credential().gid;
}

void stm_linux_ids_for_caller(stm_ids* /*ids*/) {
}

int stm_linux_caller_in_group(__u32 gid) {
    return Caller::credential().gid == gid;
}

int stm_linux_caller_has(stm_privilege privilege) {
    return privilege == STM_PRIVILEGE_IPC_OWNER ? Caller::credential().overrides_access
                                                : Caller::credential().owns_all;
}

} // extern "C"
