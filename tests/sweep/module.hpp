// SPDX-License-Identifier: GPL-2.0
// Loading and unloading the module, with each failure in turn.
#pragma once

#include "injection.hpp"

#include <string>
#include <vector>

namespace stm::sweep {

class Module {
public:
    // The file is copied into memory: how the file system of the guest takes a failure is another
    // matter.
    explicit Module(const std::string& path);
    ~Module();
    Module(const Module&) = delete;
    Module& operator=(const Module&) = delete;

    // 0 or an errno value.
    [[nodiscard]] int load() const;
    [[nodiscard]] int unload() const;

    // One try each, which ends with the module loaded; whether a failure was injected. What is
    // wrong is added to the problems.
    bool sweep_load(const Injection& injection, unsigned n,
                    std::vector<std::string>& problems) const;
    bool sweep_unload(const Injection& injection, unsigned n,
                      std::vector<std::string>& problems) const;

private:
    std::string path_;
};

} // namespace stm::sweep
