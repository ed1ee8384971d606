// SPDX-License-Identifier: GPL-2.0
// Core files: where Linux writes those of this program's children, and what is in them.
#pragma once

#include "guest.hpp"

#include <csignal>
#include <cstdlib>
#include <elf.h>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <vector>

namespace stm::test {

/** While it lives, a process that has asked for it leaves core_path(its id). */
class CoreFiles {
public:
    CoreFiles() {
        std::ifstream(kPattern) >> before_;
        std::ofstream(kPattern) << "/tmp/stm-core.%p\n";
    }
    ~CoreFiles() { std::ofstream(kPattern) << before_ << "\n"; }
    CoreFiles(const CoreFiles&) = delete;
    CoreFiles& operator=(const CoreFiles&) = delete;

    [[nodiscard]] static std::string path(pid_t pid) {
        return "/tmp/stm-core." + std::to_string(pid);
    }
    /** In a child: its death leaves a core file. */
    static void ask() {
        const struct rlimit all { RLIM_INFINITY, RLIM_INFINITY };
        EXPECT_EQ(::setrlimit(RLIMIT_CORE, &all), 0);
        EXPECT_EQ(::prctl(PR_SET_DUMPABLE, 1), 0);
    }

private:
    static constexpr const char* kPattern = "/proc/sys/kernel/core_pattern";
    std::string before_;
};

/** What an ELF core file has of a process's memory. */
class CoreFile {
public:
    explicit CoreFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        Elf64_Ehdr header{};
        if (!read(&header, sizeof header, 0) || header.e_type != ET_CORE)
            return;
        segments_.resize(header.e_phnum);
        is_whole_ = read(segments_.data(), segments_.size() * sizeof(Elf64_Phdr), header.e_phoff);
    }
    [[nodiscard]] bool is_whole() const { return is_whole_; }

    /** The bytes at an address of the process; nothing if the file leaves them out. */
    [[nodiscard]] std::optional<std::string> bytes(const volatile void* address,
                                                   std::size_t count) const {
        const auto at = reinterpret_cast<std::uintptr_t>(address);
        for (const Elf64_Phdr& segment : segments_) {
            if (segment.p_type != PT_LOAD || at < segment.p_vaddr ||
                at + count > segment.p_vaddr + segment.p_filesz)
                continue;
            std::string result(count, '\0');
            if (read(result.data(), count, segment.p_offset + (at - segment.p_vaddr)))
                return result;
        }
        return std::nullopt;
    }
    template <typename T>
    [[nodiscard]] std::optional<T> value(const volatile T* address) const {
        const std::optional<std::string> found = bytes(address, sizeof(T));
        if (!found)
            return std::nullopt;
        T result;
        std::memcpy(&result, found->data(), sizeof result);
        return result;
    }

private:
    bool read(void* to, std::size_t count, std::uint64_t from) const {
        return ::pread(fd_.get(), to, count, static_cast<off_t>(from)) ==
               static_cast<ssize_t>(count);
    }

    Fd fd_;
    bool is_whole_ = false;
    std::vector<Elf64_Phdr> segments_;
};

/** Runs the function in a child that then aborts; the path of its core file, or empty. */
inline std::string core_of(const std::function<void()>& body) {
    Child child([&] {
        CoreFiles::ask();
        body();
        std::abort();
        return 0;
    });
    const pid_t pid = child.pid();
    EXPECT_EQ(child.wait(), 128 + SIGABRT);
    const std::string path = CoreFiles::path(pid);
    EXPECT_EQ(::access(path.c_str(), R_OK), 0) << path;
    return path;
}

} // namespace stm::test
