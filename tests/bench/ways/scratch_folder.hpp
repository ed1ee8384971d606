// SPDX-License-Identifier: GPL-2.0
// A folder in memory, for databases that want files.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace stm::bench {

class ScratchFolder {
public:
    ScratchFolder() {
        if (::mkdtemp(path_.data()) == nullptr)
            throw std::runtime_error("cannot make " + path_);
    }
    ~ScratchFolder() { std::filesystem::remove_all(path_); }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_ = "/dev/shm/stm-bench-XXXXXX";
};

} // namespace stm::bench
