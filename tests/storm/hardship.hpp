// SPDX-License-Identifier: GPL-2.0
// What is done to the machine and not to a process: memory, processors, the module.
#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>

namespace stm::storm {

/** A process that holds most of the free memory for a while. 0: none could be made. */
pid_t start_hog(unsigned length_ms);

/** A process that takes the last processor out, and puts it back after a while. 0: it cannot be
 * taken out. */
pid_t start_hotplug(unsigned length_ms);
inline constexpr int kUnplugged = 9; // how it ends when it has done so

/** Whether the kernel refused to unload the module, as it must; errno otherwise, 0 if it was
 * unloaded. */
enum class Unload { refused, unloaded, failed };
Unload try_to_unload();

/** A control group with little memory; its processes are the first to be ended. Absent where the
 * kernel has none. */
class Squeeze {
public:
    explicit Squeeze(const std::string& name);
    ~Squeeze();
    Squeeze(const Squeeze&) = delete;
    Squeeze& operator=(const Squeeze&) = delete;
    [[nodiscard]] bool exists() const { return !folder_.empty(); }
    /** The calling process. */
    void enter() const;
    /** How many of its processes the kernel has killed. */
    [[nodiscard]] std::uint64_t kills() const;

private:
    std::string folder_;
};

} // namespace stm::storm
