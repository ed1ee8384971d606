// SPDX-License-Identifier: GPL-2.0
// What the library puts in the place of libc's functions does all of what libc's do: the same calls
// of both, each in a process of its own, have the same results. Also where the kernel, or a filter
// of system calls as containers have it, refuses what libc can do without.
#include "actions.hpp"

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

// Some of the functions are there for old programs only.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace {

// -- Both sets of functions --

struct Functions {
    decltype(&::close) close;
    decltype(&::close_range) close_range;
    decltype(&::closefrom) closefrom;
    decltype(&::sigaction) sigaction;
    decltype(&::signal) signal;
    decltype(&::signal) bsd_signal;
    decltype(&::ssignal) ssignal;
    decltype(&::sysv_signal) sysv_signal;
    decltype(&::sigset) sigset;
    decltype(&::sigignore) sigignore;
    decltype(&::siginterrupt) siginterrupt;
    decltype(&::pthread_sigmask) pthread_sigmask;
    decltype(&::sigprocmask) sigprocmask;
    decltype(&::sighold) sighold;
    decltype(&::sigrelse) sigrelse;
    decltype(&::sigblock) sigblock;
    decltype(&::sigsetmask) sigsetmask;
    decltype(&::execve) execve;
    decltype(&::execv) execv;
    decltype(&::execvp) execvp;
    decltype(&::execvpe) execvpe;
    decltype(&::execl) execl;
    decltype(&::execle) execle;
    decltype(&::execlp) execlp;
    decltype(&::fexecve) fexecve;
    decltype(&::execveat) execveat;
};

extern "C" sighandler_t bsd_signal(int signal, sighandler_t handler) noexcept;

const Functions kOurs = {
    &::close,       &::close_range, &::closefrom, &::sigaction, &::signal,       &bsd_signal,
    &::ssignal,     &::sysv_signal, &::sigset,    &::sigignore, &::siginterrupt, &::pthread_sigmask,
    &::sigprocmask, &::sighold,     &::sigrelse,  &::sigblock,  &::sigsetmask,   &::execve,
    &::execv,       &::execvp,      &::execvpe,   &::execl,     &::execle,       &::execlp,
    &::fexecve,     &::execveat};

template <typename Function>
void find(void* library, const char* name, Function& result) {
    result = reinterpret_cast<Function>(::dlsym(library, name));
    ASSERT_NE(result, nullptr) << name;
}

Functions of_libc() {
    void* libc = ::dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    EXPECT_NE(libc, nullptr);
    Functions all{};
#define STM_FIND(name) find(libc, #name, all.name)
    STM_FIND(close);
    STM_FIND(close_range);
    STM_FIND(closefrom);
    STM_FIND(sigaction);
    STM_FIND(signal);
    find(libc, "signal", all.bsd_signal); // the same, and libc lets nothing new link the old name
    STM_FIND(ssignal);
    STM_FIND(sysv_signal);
    STM_FIND(sigset);
    STM_FIND(sigignore);
    STM_FIND(siginterrupt);
    STM_FIND(pthread_sigmask);
    STM_FIND(sigprocmask);
    STM_FIND(sighold);
    STM_FIND(sigrelse);
    STM_FIND(sigblock);
    STM_FIND(sigsetmask);
    STM_FIND(execve);
    STM_FIND(execv);
    STM_FIND(execvp);
    STM_FIND(execvpe);
    STM_FIND(execl);
    STM_FIND(execle);
    STM_FIND(execlp);
    STM_FIND(fexecve);
    STM_FIND(execveat);
#undef STM_FIND
    return all;
}

// -- One run --

/** What happened, as lines of text. */
class Trace {
public:
    template <typename... Values>
    void add(const char* what, Values... values) {
        const int error = errno;
        text_ += what;
        ((text_ += ' ' + std::to_string(static_cast<long>(values))), ...);
        text_ += " errno " + std::to_string(error) + '\n';
        errno = 0;
    }
    [[nodiscard]] const std::string& text() const { return text_; }

private:
    std::string text_;
};

using Script = std::function<void(const Functions&, Trace&)>;

std::string run(const Functions& functions, void (*before)(), const Script& script) {
    constexpr std::size_t kBytes = 1 << 20;
    // What it tells needs no descriptor.
    void* shared =
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(shared, MAP_FAILED);
    pid_t child = ::fork();
    if (child == 0) {
        before();
        Trace trace;
        errno = 0;
        script(functions, trace);
        std::strncpy(static_cast<char*>(shared), trace.text().c_str(), kBytes - 1);
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    const std::string text = static_cast<const char*>(shared);
    ::munmap(shared, kBytes);
    return text + "status " + std::to_string(status);
}

void nothing() {
}
// As far as it goes without the module.
void begin_a_transaction() {
    stm::library::install_handlers();
}

void expect_the_same(void (*before)(), const Script& script) {
    // Once the library has handlers they are there whichever functions are called.
    const std::string libc =
        run(of_libc(), before == begin_a_transaction ? nothing : before, script);
    EXPECT_NE(libc, "status 0") << "something was seen";
    EXPECT_EQ(run(kOurs, before, script), libc);
}

// From now on close_range fails.
void refuse_close_range(unsigned error) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        ::_exit(99);
}

struct Refusal {
    const char* name;
    void (*begin)();
};

const Refusal kRefusals[] = {
    {"Nothing", nothing},
    {"WithENOSYS", [] { refuse_close_range(ENOSYS); }},
    {"WithEPERM", [] { refuse_close_range(EPERM); }},
};

// -- Descriptors --

class Closing : public ::testing::TestWithParam<Refusal> {};
INSTANTIATE_TEST_SUITE_P(Refused, Closing, ::testing::ValuesIn(kRefusals),
                         [](const auto& refusal) { return refusal.param.name; });

void open_some() {
    const int null = ::open("/dev/null", O_RDONLY);
    for (int fd = 20; fd < 700; fd += fd % 7 + 1)
        ::dup2(null, fd);
    ::dup3(null, 600, O_CLOEXEC);
}

void list_open(Trace& trace) {
    for (int fd = 0; fd < 1000; ++fd)
        if (const int flags = ::fcntl(fd, F_GETFD); flags >= 0)
            trace.add("open", fd, flags);
    errno = 0;
}

TEST_P(Closing, Closefrom) {
    for (int first : {-1, 0, 3, 20, 21, 350, 699, 700, 901, 5000})
        expect_the_same(GetParam().begin, [&](const Functions& call, Trace& trace) {
            open_some();
            call.closefrom(first);
            trace.add("closefrom");
            list_open(trace);
        });
}

TEST_P(Closing, ClosefromWithoutAFreeDescriptor) {
    expect_the_same(GetParam().begin, [&](const Functions& call, Trace& trace) {
        for (int fd = 3; fd < 64; ++fd)
            ::dup2(0, fd);
        const struct rlimit few = {64, 64};
        ::setrlimit(RLIMIT_NOFILE, &few);
        call.closefrom(30);
        list_open(trace);
    });
}

TEST_P(Closing, CloseRange) {
    struct Arguments {
        unsigned first, last;
        int flags;
    };
    for (const Arguments& range :
         {Arguments{20, 40, 0}, Arguments{40, 20, 0}, Arguments{500, ~0U, CLOSE_RANGE_CLOEXEC},
          Arguments{21, 21, 0}, Arguments{30, 800, CLOSE_RANGE_UNSHARE}, Arguments{20, 40, 64}})
        expect_the_same(GetParam().begin, [&](const Functions& call, Trace& trace) {
            open_some();
            trace.add("close_range", call.close_range(range.first, range.last, range.flags));
            list_open(trace);
        });
}

TEST_P(Closing, Close) {
    for (int fd : {-1, 20, 19, 4000, 0})
        expect_the_same(GetParam().begin, [&](const Functions& call, Trace& trace) {
            open_some();
            trace.add("close", call.close(fd));
            trace.add("and again", call.close(fd));
            list_open(trace);
        });
}

// -- Handlers --

// In a process that has begun a transaction, and in one that has not.
struct Moment {
    const char* name;
    void (*begin)();
};
class Handling : public ::testing::TestWithParam<Moment> {};
INSTANTIATE_TEST_SUITE_P(Each, Handling,
                         ::testing::Values(Moment{"Before", nothing},
                                           Moment{"After", begin_a_transaction}),
                         [](const auto& moment) { return moment.param.name; });

constexpr int kNumbers[] = {-1,     0,      SIGHUP, SIGUSR1, SIGKILL, SIGSTOP, SIGSEGV,
                            SIGBUS, SIGFPE, SIGILL, SIGURG,  SIGALRM, SIGCHLD, 32,
                            33,     34,     64,     65,      1000};

std::uint64_t kernels_mask() {
    std::uint64_t mask = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, sizeof mask);
    return mask;
}

volatile int calls = 0;
volatile std::uint64_t mask_inside = 0;
void count(int) {
    calls = calls + 1;
    mask_inside = kernels_mask();
}
void count_too(int signal) {
    count(signal);
}

void tell(const Functions& call, Trace& trace, int number) {
    struct sigaction told;
    std::memset(&told, 0x55, sizeof told);
    const int result = call.sigaction(number, nullptr, &told);
    std::uint64_t mask = 0;
    std::memcpy(&mask, &told.sa_mask, sizeof mask);
    trace.add("told", number, result, reinterpret_cast<std::intptr_t>(told.sa_handler),
              told.sa_flags, mask);
}

// What it does, if it is safe to try.
void try_it(const Functions& call, Trace& trace, int number) {
    struct sigaction told {};
    if (call.sigaction(number, nullptr, &told) != 0 || told.sa_handler == SIG_DFL ||
        number == SIGKILL || number == SIGSTOP)
        return;
    if (told.sa_handler == SIG_ERR) // which sigset takes
        return;
    calls = 0;
    mask_inside = 0;
    errno = 0;
    ::raise(number);
    trace.add("raised", number, calls, mask_inside, kernels_mask());
    tell(call, trace, number);
}

template <typename Install>
void expect_the_same_handlers(void (*begin)(), const Install& install) {
    for (int number : kNumbers)
        expect_the_same(begin, [&](const Functions& call, Trace& trace) {
            for (sighandler_t handler : {static_cast<sighandler_t>(count), SIG_IGN,
                                         static_cast<sighandler_t>(count_too), SIG_DFL, SIG_ERR}) {
                install(call, trace, number, handler);
                tell(call, trace, number);
                try_it(call, trace, number);
            }
        });
}

TEST_P(Handling, Signal) {
    for (auto function :
         {&Functions::signal, &Functions::bsd_signal, &Functions::ssignal, &Functions::sysv_signal})
        expect_the_same_handlers(GetParam().begin, [&](const Functions& call, Trace& trace,
                                                       int number, sighandler_t handler) {
            trace.add("signal", reinterpret_cast<std::intptr_t>((call.*function)(number, handler)));
        });
}

TEST_P(Handling, Sigset) {
    expect_the_same_handlers(GetParam().begin, [](const Functions& call, Trace& trace, int number,
                                                  sighandler_t handler) {
        for (sighandler_t disposition : {handler, SIG_HOLD, handler, SIG_HOLD, SIG_HOLD}) {
            const auto result = call.sigset(number, disposition);
            trace.add("sigset", reinterpret_cast<std::intptr_t>(result), kernels_mask());
        }
        call.sigrelse(number);
        trace.add("sigignore", call.sigignore(number));
        tell(call, trace, number);
        call.sigset(number, handler);
    });
}

TEST_P(Handling, Sigaction) {
    for (int flags : {0, static_cast<int>(SA_RESETHAND), SA_NODEFER, SA_RESTART | SA_ONSTACK,
                      SA_SIGINFO | SA_NOCLDSTOP, SA_NODEFER | static_cast<int>(SA_RESETHAND)})
        expect_the_same_handlers(GetParam().begin, [&](const Functions& call, Trace& trace,
                                                       int number, sighandler_t handler) {
            if (handler == SIG_ERR)
                return;
            struct sigaction action {};
            struct sigaction old {};
            action.sa_handler = handler;
            action.sa_flags = flags;
            sigfillset(&action.sa_mask);
            if (flags == SA_NODEFER)
                sigdelset(&action.sa_mask, SIGURG);
            trace.add("sigaction", call.sigaction(number, &action, &old),
                      reinterpret_cast<std::intptr_t>(old.sa_handler));
        });
}

TEST_P(Handling, Siginterrupt) {
    for (int number : kNumbers)
        expect_the_same(GetParam().begin, [&](const Functions& call, Trace& trace) {
            for (int interrupt : {1, 0, 1}) {
                trace.add("siginterrupt", call.siginterrupt(number, interrupt));
                tell(call, trace, number);
                call.signal(number, count);
                tell(call, trace, number);
            }
        });
    for (int interrupt : {1, 0})
        expect_the_same(GetParam().begin, [&](const Functions& call, Trace& trace) {
            call.siginterrupt(SIGALRM, interrupt);
            call.signal(SIGALRM, [](int) {
                static volatile int rings = 0;
                rings = rings + 1;
                if (rings == 3) // it was not interrupted
                    ::_exit(42);
            });
            const struct itimerval often = {{0, 20'000}, {0, 20'000}};
            ::setitimer(ITIMER_REAL, &often, nullptr);
            int ends[2];
            char byte = 0;
            trace.add("pipe", ::pipe(ends));
            trace.add("read", ::read(ends[0], &byte, 1));
        });
}

// What is pending goes to the handler that is new, in this order.
TEST_P(Handling, SigsetWithAPendingSignal) {
    for (int number : {SIGUSR1, SIGSEGV, SIGURG})
        expect_the_same(GetParam().begin, [&](const Functions& call, Trace& trace) {
            call.signal(number, [](int) { ::_exit(7); });
            call.sigset(number, SIG_HOLD);
            ::raise(number);
            trace.add("sigset", reinterpret_cast<std::intptr_t>(call.sigset(number, count)), calls);
        });
}

// -- Masks --

TEST_P(Handling, Masks) {
    for (int how : {SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK, 77, -1})
        expect_the_same(GetParam().begin, [&](const Functions& call, Trace& trace) {
            for (auto function : {call.pthread_sigmask, call.sigprocmask}) {
                sigset_t set;
                sigset_t old;
                std::memset(&set, 0xff, sizeof set);
                std::memset(&old, 0x55, sizeof old);
                trace.add("set", function(how, &set, &old), kernels_mask());
                for (std::size_t byte = 0; byte < sizeof old; ++byte)
                    trace.add("old", reinterpret_cast<unsigned char*>(&old)[byte]);
                trace.add("no set", function(how, nullptr, &old), kernels_mask());
                trace.add("nothing", function(how, nullptr, nullptr), kernels_mask());
                sigemptyset(&set);
                trace.add("empty", function(how, &set, nullptr), kernels_mask());
                trace.add("bad",
                          function(how, reinterpret_cast<sigset_t*>(8), nullptr) != 0 ? 1 : 0);
                errno = 0;
            }
        });
    for (int number : kNumbers)
        expect_the_same(GetParam().begin, [&](const Functions& call, Trace& trace) {
            trace.add("sighold", call.sighold(number), kernels_mask());
            trace.add("sigrelse", call.sigrelse(number), kernels_mask());
            trace.add("sigblock", call.sigblock(number), kernels_mask());
            trace.add("sigsetmask", call.sigsetmask(number << 4), kernels_mask());
            trace.add("sigsetmask", call.sigsetmask(-1), kernels_mask());
            trace.add("sigblock", call.sigblock(0), kernels_mask());
        });
}

// -- exec --

// Standard output goes to a file, which is read by who called.
class Output {
public:
    Output() : fd_(::memfd_create("output", 0)) { ::dup2(fd_, STDOUT_FILENO); }
    [[nodiscard]] std::string text() const {
        std::string all(4096, '\0');
        const ssize_t bytes = ::pread(fd_, all.data(), all.size(), 0);
        all.resize(bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
        return all;
    }

private:
    int fd_;
};

class Folder {
public:
    Folder() {
        write("stm-script", "echo script \"$0\" \"$#\" \"$1\" \"$2\" \"$VARIABLE\"\n", 0755);
        write("stm-denied", "echo denied\n", 0644);
        write("stm-program", "#!/bin/sh\necho program \"$0\" \"$#\" \"$1\" \"$2\" \"$VARIABLE\"\n",
              0755);
        write("stm-shows", "#!/bin/sh\ngrep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status\n", 0755);
    }
    ~Folder() {
        for (const std::string& file : files_)
            ::unlink(file.c_str());
        ::rmdir(path_.c_str());
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    void write(const std::string& name, const std::string& text, mode_t mode) {
        files_.push_back(path_ + '/' + name);
        const int fd = ::open(files_.back().c_str(), O_CREAT | O_WRONLY, mode);
        EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
        ::close(fd);
    }
    static std::string make() {
        char name[] = "/tmp/stand_for_libc.XXXXXX";
        EXPECT_NE(::mkdtemp(name), nullptr);
        return name;
    }
    std::string path_ = make();
    std::vector<std::string> files_;
};

// Does it in a child, and adds what that printed, or the error.
template <typename Action>
void trace_exec(Trace& trace, const char* what, const Action& action) {
    Output output;
    pid_t child = ::fork();
    if (child == 0) {
        errno = 0;
        action();
        ::_exit(errno);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    errno = 0;
    trace.add((what + (": " + output.text())).c_str(), status);
}

TEST(Exec, FindsTheSameFiles) {
    const Folder folder;
    for (const std::string& path :
         {folder.path(), "/nowhere:" + folder.path() + ':', ':' + folder.path(),
          folder.path() + "/stm-script:/nowhere", std::string(), std::string("unset")})
        expect_the_same(nothing, [&](const Functions& call, Trace& trace) {
            ::chdir(folder.path().c_str());
            if (path == "unset")
                ::unsetenv("PATH");
            else
                ::setenv("PATH", path.c_str(), 1);
            char variable[] = "VARIABLE=value";
            char* environment[] = {variable, nullptr};
            for (const std::string& file :
                 {std::string("stm-script"), std::string("stm-denied"), std::string("stm-program"),
                  std::string("true"), std::string("stm-absent"), std::string(),
                  folder.path() + "/stm-script", folder.path() + "/stm-denied",
                  std::string("./stm-program"), std::string("stm-program/x"), std::string(".")}) {
                char first[] = "first";
                char second[] = "second";
                char third[] = "third";
                char* arguments[] = {first, second, third, nullptr};
                char* nothing_at_all[] = {nullptr};
                const char* name = file.c_str();
                trace_exec(trace, "execve", [&] { call.execve(name, arguments, environment); });
                trace_exec(trace, "execv", [&] { call.execv(name, arguments); });
                trace_exec(trace, "execvp", [&] { call.execvp(name, arguments); });
                trace_exec(trace, "execvp", [&] { call.execvp(name, nothing_at_all); });
                trace_exec(trace, "execvpe", [&] { call.execvpe(name, arguments, environment); });
                trace_exec(trace, "execl", [&] { call.execl(name, "a", "b", "c", nullptr); });
                trace_exec(trace, "execl", [&] { call.execl(name, "a", nullptr); });
                trace_exec(trace, "execle",
                           [&] { call.execle(name, "a", "b", nullptr, environment); });
                trace_exec(trace, "execlp", [&] { call.execlp(name, "a", "b", nullptr); });
                trace_exec(trace, "execveat",
                           [&] { call.execveat(AT_FDCWD, name, arguments, environment, 0); });
            }
        });
    expect_the_same(nothing, [&](const Functions& call, Trace& trace) {
        char first[] = "first";
        char* arguments[] = {first, nullptr};
        char* environment[] = {nullptr};
        for (int fd : {::open((folder.path() + "/stm-program").c_str(), O_RDONLY),
                       ::open((folder.path() + "/stm-denied").c_str(), O_RDONLY), -1, 4000})
            trace_exec(trace, "fexecve", [&] { call.fexecve(fd, arguments, environment); });
        char* const* volatile none = nullptr;
        trace_exec(trace, "fexecve", [&] { call.fexecve(0, none, environment); });
    });
}

// What a program inherits.
TEST_P(Handling, ExecInherits) {
    const Folder folder;
    const std::string shows = folder.path() + "/stm-shows";
    for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGURG, SIGUSR1})
        for (sighandler_t handler : {SIG_IGN, SIG_DFL, static_cast<sighandler_t>(count)})
            expect_the_same(GetParam().begin, [&](const Functions& call, Trace& trace) {
                call.signal(number, handler);
                call.sighold(SIGUSR2);
                trace_exec(trace, "execl", [&] { call.execl(shows.c_str(), "a", nullptr); });
                // In vain, and then everything is as before.
                call.execl("/nowhere", "a", nullptr);
                tell(call, trace, number);
                try_it(call, trace, number);
                trace_exec(trace, "execlp", [&] { call.execlp(shows.c_str(), "a", nullptr); });
            });
}

} // namespace
