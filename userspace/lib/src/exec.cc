// SPDX-License-Identifier: LGPL-2.1-or-later
// exec, in the place of libc's. A program that is executed inherits the mask, and which signals are
// ignored. But if the program ignores one of the library's signals, the kernel has a handler for
// it; and if the program blocks one, the kernel may not. So these functions tell the kernel both
// before they call exec.
//
// The functions are exported without a symbol version, like those in sigaction.cc. Signal handlers
// and a child of vfork may call them: they allocate nothing and keep nothing.
#include "actions.hpp"
#include "mask.hpp"

#include <alloca.h>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <paths.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace stm::library {
namespace {

// While an object lives, the kernel ignores and blocks the signals that the program ignores and
// blocks. It is destroyed only if exec has failed.
class AsTheProgramWants {
public:
    AsTheProgramWants() : ignored_(ignore_for_exec()), withheld_(ThreadMask::current().withheld()) {
        withheld_ &= ~current_mask_if(withheld_);
        if (withheld_ != 0)
            change_mask(SIG_BLOCK, withheld_);
    }
    ~AsTheProgramWants() {
        const int error = errno;
        handle_again(ignored_);
        if (withheld_ != 0)
            change_mask(SIG_UNBLOCK, withheld_);
        errno = error;
    }
    AsTheProgramWants(const AsTheProgramWants&) = delete;
    AsTheProgramWants& operator=(const AsTheProgramWants&) = delete;

private:
    static Mask current_mask_if(Mask any) { return any != 0 ? current_mask() : 0; }

    Mask ignored_;
    Mask withheld_;
};

int execute(const char* path, char* const* arguments, char* const* environment) {
    return static_cast<int>(::syscall(SYS_execve, path, arguments, environment));
}

// If the file is no program it is a script for the shell.
int execute_or_shell(const char* path, char* const* arguments, char* const* environment) {
    const int result = execute(path, arguments, environment);
    if (errno != ENOEXEC)
        return result;
    std::size_t count = 0;
    while (arguments[count] != nullptr)
        ++count;
    // The shell, the file, and all arguments but the first.
    auto** words = static_cast<char**>(alloca((count + 3) * sizeof(char*)));
    std::size_t last = 0;
    words[last++] = const_cast<char*>(_PATH_BSHELL);
    words[last++] = const_cast<char*>(path);
    for (std::size_t index = 1; index < count; ++index)
        words[last++] = arguments[index];
    words[last] = nullptr;
    return execute(words[0], words, environment);
}

// Whether another folder may have a file of that name.
bool goes_on_searching(int error) {
    switch (error) {
    case EACCES:
    case ENOENT:
    case ESTALE:
    case ENOTDIR:
    case ENODEV:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

int search(const char* file, char* const* arguments, char* const* environment) {
    if (*file == '\0') {
        errno = ENOENT;
        return -1;
    }
    if (std::strchr(file, '/') != nullptr)
        return execute_or_shell(file, arguments, environment);
    const std::size_t length = strnlen(file, NAME_MAX + 1);
    if (length > NAME_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    const char* folders = std::getenv("PATH");
    if (folders == nullptr)
        folders = "/bin:/usr/bin"; // CS_PATH of libc

    char path[PATH_MAX + NAME_MAX + 2];
    bool denied = false;
    for (const char* folder = folders;; ++folder) {
        const char* end = strchrnul(folder, ':');
        const auto bytes = static_cast<std::size_t>(end - folder);
        if (bytes < PATH_MAX) { // a longer path is skipped
            char* to = static_cast<char*>(mempcpy(path, folder, bytes));
            if (bytes > 0) // an empty name means the current folder
                *to++ = '/';
            std::memcpy(to, file, length + 1);
            execute_or_shell(path, arguments, environment);
            if (!goes_on_searching(errno))
                return -1;
            denied |= errno == EACCES;
        }
        if (*end == '\0')
            break;
        folder = end;
    }
    if (denied) // more telling than that the last folder has no such file
        errno = EACCES;
    return -1;
}

// The arguments of execl and its relatives, up to the null pointer.
std::size_t count_arguments(std::va_list list) {
    std::size_t count = 1; // the first one is not in the list
    while (va_arg(list, char*) != nullptr)
        ++count;
    return count;
}

void collect_arguments(char** to, const char* first, std::va_list list) {
    *to++ = const_cast<char*>(first);
    while ((*to++ = va_arg(list, char*)) != nullptr) {
    }
}

} // namespace
} // namespace stm::library

using namespace stm::library;

// The variable arguments that follow `first`, as an array on the caller's stack.
#define STM_COLLECT(arguments, list, first)                                                        \
    std::va_list list;                                                                             \
    va_start(list, first);                                                                         \
    const std::size_t count = count_arguments(list);                                               \
    va_end(list);                                                                                  \
    auto** arguments = static_cast<char**>(alloca((count + 1) * sizeof(char*)));                   \
    va_start(list, first);                                                                         \
    collect_arguments(arguments, first, list)

#pragma GCC visibility push(default)
extern "C" {

int execve(const char* path, char* const arguments[], char* const environment[]) noexcept {
    AsTheProgramWants scope;
    return execute(path, arguments, environment);
}

int execv(const char* path, char* const arguments[]) noexcept {
    return execve(path, arguments, environ);
}

int execvpe(const char* file, char* const arguments[], char* const environment[]) noexcept {
    AsTheProgramWants scope;
    return search(file, arguments, environment);
}

int execvp(const char* file, char* const arguments[]) noexcept {
    return execvpe(file, arguments, environ);
}

int execl(const char* path, const char* first, ...) noexcept {
    STM_COLLECT(arguments, list, first);
    va_end(list);
    return execve(path, arguments, environ);
}

int execle(const char* path, const char* first, ...) noexcept {
    STM_COLLECT(arguments, list, first);
    char** environment = va_arg(list, char**);
    va_end(list);
    return execve(path, arguments, environment);
}

int execlp(const char* file, const char* first, ...) noexcept {
    STM_COLLECT(arguments, list, first);
    va_end(list);
    return execvpe(file, arguments, environ);
}

int execveat(int folder, const char* path, char* const arguments[], char* const environment[],
             int flags) noexcept {
    AsTheProgramWants scope;
    return static_cast<int>(::syscall(SYS_execveat, folder, path, arguments, environment, flags));
}

int fexecve(int fd, char* const arguments[], char* const environment[]) noexcept {
    // libc declares the arguments as nonnull. Without these the compiler would drop the test.
    char* const* volatile first_argument = arguments;
    char* const* volatile first_variable = environment;
    if (fd < 0 || first_argument == nullptr || first_variable == nullptr) {
        errno = EINVAL;
        return -1;
    }
    execveat(fd, "", arguments, environment, AT_EMPTY_PATH);
    if (errno != ENOSYS)
        return -1;
    char path[32];
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    execve(path, arguments, environment);
    struct stat status;
    if (errno == ENOENT && ::stat("/proc/self/fd", &status) != 0) // /proc is not mounted
        errno = ENOSYS;
    return -1;
}

} // extern "C"
#pragma GCC visibility pop
