// SPDX-License-Identifier: GPL-2.0
// Looks at all that has to be there before a program can use the module.
#include "command.hpp"
#include "common/text.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <grp.h>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <stm/stm.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace stm::tools {
namespace {

enum class State { good, warning, bad };

struct Finding {
    const char* check;
    State state;
    std::string found;
    std::string advice; // empty: nothing is to be done
};

const char* state_text(State state) {
    return state == State::good ? "ok" : state == State::warning ? "warning" : "bad";
}

// The first line of a file of sysfs or procfs; empty if it cannot be read.
std::string line_of(const std::string& path) {
    std::string line;
    std::getline(std::ifstream(path), line);
    return line;
}

std::string kernel() {
    struct utsname name {};
    ::uname(&name);
    return name.release;
}

// Where depmod has found the module for the running kernel; empty: nowhere.
std::string installed_module() {
    std::ifstream list("/lib/modules/" + kernel() + "/modules.dep");
    for (std::string line; std::getline(list, line);) {
        const std::string path = line.substr(0, line.find(':'));
        const std::string name = path.substr(path.rfind('/') + 1);
        if (name.rfind("stm.ko", 0) == 0)
            return path;
    }
    return {};
}

// The source that DKMS builds, "stm-0.1.0"; empty: there is none.
std::string dkms_source() {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/usr/src", error))
        if (entry.path().filename().string().rfind("stm-", 0) == 0 &&
            std::filesystem::exists(entry.path() / "dkms.conf", error))
            return entry.path().filename();
    return {};
}

// Whether the kernel loads signed modules only.
bool wants_signature() {
    const std::string lockdown = line_of("/sys/kernel/security/lockdown");
    return line_of("/sys/module/module/parameters/sig_enforce") == "Y" ||
           lockdown.find("[integrity]") != std::string::npos ||
           lockdown.find("[confidentiality]") != std::string::npos;
}

Finding check_module() {
    if (std::filesystem::exists("/sys/module/stm"))
        return {"module", State::good,
                fmt::format("loaded, version {}", line_of("/sys/module/stm/version")), ""};
    if (const std::string path = installed_module(); !path.empty())
        return {"module", State::bad, fmt::format("not loaded; {} is there", path),
                "modprobe stm; at each boot: a line 'stm' in /etc/modules-load.d/stm.conf"};
    if (const std::string source = dkms_source(); !source.empty()) {
        const bool headers =
            std::filesystem::exists("/lib/modules/" + kernel() + "/build/Makefile");
        return {"module", State::bad,
                fmt::format("not built for this kernel, {}; its source is /usr/src/{}", kernel(),
                            source),
                headers ? fmt::format("dkms autoinstall, and read /var/lib/dkms/stm/{}/build/"
                                      "make.log if that fails",
                                      source.substr(4))
                        : fmt::format("install the kernel's headers: apt install "
                                      "linux-headers-{}; then dkms autoinstall",
                                      kernel())};
    }
    return {"module", State::bad, fmt::format("not there for this kernel, {}", kernel()),
            "install the package stm-dkms, or build it: make module, and insmod stm.ko"};
}

Finding check_signature() {
    const bool loaded = std::filesystem::exists("/sys/module/stm");
    if (!wants_signature())
        return {"signature", State::good, "this kernel loads modules without a signature", ""};
    if (loaded)
        return {"signature", State::good, "this kernel loads signed modules only; it loaded stm",
                ""};
    return {"signature", State::warning, "this kernel loads signed modules only",
            "if modprobe says 'Key was rejected': mokutil --import /var/lib/dkms/mok.pub, and "
            "reboot to enroll the key"};
}

// The major number of the driver, as /proc/devices has it; 0: it is not there.
unsigned driver_major() {
    std::ifstream list("/proc/devices");
    unsigned number = 0;
    for (std::string word; list >> word;) {
        if (word == "stm")
            return number;
        number = static_cast<unsigned>(std::strtoul(word.c_str(), nullptr, 10));
    }
    return 0;
}

std::string user_name() {
    const struct passwd* user = ::getpwuid(::geteuid());
    return user != nullptr ? user->pw_name : fmt::format("{}", ::geteuid());
}

Finding check_node() {
    const std::string path = connection::control_device();
    struct stat node {};
    if (::stat(path.c_str(), &node) < 0)
        return {"device", State::bad, fmt::format("{}: {}", path, std::strerror(errno)),
                driver_major() == 0
                    ? "load the module first"
                    : fmt::format("no udev here? mknod -m 0666 {} c {} 0", path, driver_major())};
    if (!S_ISCHR(node.st_mode) || major(node.st_rdev) != driver_major())
        return {"device", State::bad, fmt::format("{} is no device of the module", path),
                driver_major() == 0
                    ? "load the module first; STM_DEVICE may name another file"
                    : fmt::format("remove it; mknod -m 0666 {} c {} 0", path, driver_major())};
    const struct group* group = ::getgrgid(node.st_gid);
    const std::string group_name =
        group != nullptr ? group->gr_name : fmt::format("{}", node.st_gid);
    const std::string mode =
        fmt::format("{}: {} {} {}", path, format_mode(node.st_mode & 0777U),
                    node.st_uid == 0 ? "root" : fmt::format("{}", node.st_uid), group_name);
    if (::access(path.c_str(), R_OK | W_OK) == 0)
        return {"device", State::good, mode, ""};
    return {"device", State::bad, mode + fmt::format("; user {} may not open it", user_name()),
            (node.st_mode & 0060) == 0060 && node.st_gid != 0
                ? fmt::format("adduser {} {}, and log in again", user_name(), group_name)
                : "allow it by a rule of udev; the package stm-dkms allows the group stm"};
}

// How much of a limit is used, which is too much from nine tenths on.
Finding check_limit(const char* check, std::uint64_t used, std::uint64_t most,
                    const std::string& found, const char* parameter) {
    const bool near = static_cast<double>(used) >= 0.9 * static_cast<double>(most);
    return {check, near ? State::warning : State::good, found,
            near ? fmt::format("remove regions that nobody uses ('stmctl ls'), or raise the "
                               "module's parameter {}",
                               parameter)
                 : ""};
}

std::vector<Finding> examine() {
    std::vector<Finding> result;
    result.push_back(check_module());
    result.push_back(check_signature());
    result.push_back(check_node());
    if (std::strcmp(stm_version(), STM_VERSION_STRING) != 0)
        result.push_back({"library", State::warning,
                          fmt::format("libstm {}, stmctl {}", stm_version(), STM_VERSION_STRING),
                          "install both from one version"});
    else
        result.push_back({"library", State::good, fmt::format("libstm {}", stm_version()), ""});
    try {
        const Module module;
        const struct stm_version version = module.version();
        const std::string interface = fmt::format("{}.{}", version.abi_major, version.abi_minor);
        const std::string own = fmt::format("{}.{}", STM_ABI_MAJOR, STM_ABI_MINOR);
        const std::string loaded = line_of("/sys/module/stm/version");
        if (version.abi_minor < STM_ABI_MINOR || (!loaded.empty() && loaded != STM_VERSION_STRING))
            result.push_back({"interface", State::warning,
                              fmt::format("module {}, interface {}; stmctl is {}, interface {}",
                                          loaded, interface, STM_VERSION_STRING, own),
                              "an older module stays loaded while regions are used; when none is: "
                              "modprobe -r stm && modprobe stm"});
        else
            result.push_back({"interface", State::good, fmt::format("version {}", interface), ""});
        result.push_back(check_limit(
            "regions", version.regions, version.max_regions,
            fmt::format("{} of at most {}", version.regions, version.max_regions), "max_regions"));
        result.push_back(check_limit("memory", version.bytes, version.max_bytes,
                                     fmt::format("{} of at most {}", format_size(version.bytes),
                                                 format_size(version.max_bytes)),
                                     "max_bytes"));
    } catch (const Failure& failure) {
        result.push_back({"interface", State::bad, failure.what(), "see above"});
    }
    return result;
}

int show(const Call& call) {
    const std::vector<Finding> findings = examine();
    bool bad = false;
    nlohmann::json list = nlohmann::json::array();
    Table table({{"CHECK", Align::left}, {"STATE", Align::left}, {"FOUND", Align::left}});
    std::string advice;
    for (const Finding& finding : findings) {
        bad = bad || finding.state == State::bad;
        list.push_back({{"check", finding.check},
                        {"state", state_text(finding.state)},
                        {"found", finding.found},
                        {"advice", finding.advice.empty() ? nlohmann::json(nullptr)
                                                          : nlohmann::json(finding.advice)}});
        table.add({finding.check, state_text(finding.state), printable(finding.found)});
        if (!finding.advice.empty())
            advice += fmt::format("{}: {}\n", finding.check, finding.advice);
    }
    if (call.json())
        print({{"checks", list}});
    else
        fmt::print("{}{}{}", table.format(), advice.empty() ? "" : "\n", advice);
    if (!bad)
        return static_cast<int>(Exit::ok);
    return static_cast<int>(std::filesystem::exists("/sys/module/stm") ? Exit::failed
                                                                       : Exit::no_module);
}

} // namespace

void add_doctor(Program& program) {
    program.add("doctor", "check the module, the device, versions and limits, and say what to do",
                Action(show));
}

} // namespace stm::tools
