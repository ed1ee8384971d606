// SPDX-License-Identifier: GPL-2.0
// Debian's ipcs, ipcmk, ipcrm and Perl print the same of regions, with the library preloaded, as of
// the kernel's own System V segments: command by command. What is random is replaced first.
#include "both.hpp"
#include "tests/guest/support/guest.hpp"

#include <regex>

namespace stm::world {
namespace {

using test::Output;
using test::shell;

constexpr key_t kKey = 0x57a80001;

// One side's world: what its segments are called, so that both sides call them the same.
class World {
public:
    explicit World(Side side) : side_(side) {}

    // Runs a command in which {A} stands for the id that was named A.
    Output run(std::string command) {
        for (const auto& [name, id] : names_)
            replace(command, "{" + name + "}", id);
        const char* preload = side_ == kRegions ? "LD_PRELOAD=libstm-sysv.so; " : "";
        if (side_ == kRegions)
            command = "export " + std::string(preload) + command;
        Output output = shell("(" + command + ") 2>&1");
        std::smatch found;
        if (std::regex_search(output.text, found, std::regex("Shared memory id: ([0-9]+)")))
            name(std::string(1, static_cast<char>('A' + names_.size())), found[1]);
        output.text = normal(output.text);
        return output;
    }

    void name(const std::string& name, const std::string& id) { names_.emplace_back(name, id); }

private:
    static void replace(std::string& text, const std::string& what, const std::string& by) {
        for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at))
            text.replace(at, what.size(), by);
    }

    // Names for ids and for the keys that ipcmk chooses; no processes and no times.
    std::string normal(std::string text) {
        for (const auto& [name, id] : names_)
            text = std::regex_replace(text, std::regex("\\b" + id + "\\b *"), name + " ");
        std::smatch found;
        while (std::regex_search(text, found, std::regex("0x(?!57a8|00000000)[0-9a-f]{8}")))
            replace(text, found[0], "random key");
        text = std::regex_replace(
            text, std::regex("(\\w{3} )?\\w{3} [ 0-9]\\d \\d\\d:\\d\\d:\\d\\d( \\d{4})?"),
            "a time");
        text = std::regex_replace(text, std::regex("(cpid|lpid)=[1-9][0-9]*"), "$1=a process");
        text = std::regex_replace(text, std::regex("(root +)[1-9][0-9]* +([1-9][0-9]*) +\\n"),
                                  "$1processes\n");
        text = std::regex_replace(text, std::regex("(root +)[1-9][0-9]* +0 +\\n"),
                                  "$1a process and none\n");
        return text;
    }

    Side side_;
    std::vector<std::pair<std::string, std::string>> names_;
};

class SysvCommands : public testing::Test {
protected:
    void SetUp() override {
        if (shell("command -v ipcmk perl").status != 0)
            GTEST_SKIP() << "this guest has only what was packed for it";
        for (const Side side : {kKernel, kRegions})
            remove_all(side);
        // The kernel's ids begin with 0. They shall not be taken for other numbers.
        constexpr int kHighId = 1'000'000;
        while (true) {
            const int id = shm_get(kKernel, IPC_PRIVATE, test::kPage, 0600);
            ASSERT_GE(id, 0);
            ASSERT_EQ(shm_ctl(kKernel, id, IPC_RMID, nullptr), 0);
            if (id >= kHighId)
                break;
        }
    }
    void TearDown() override {
        for (const Side side : {kKernel, kRegions})
            remove_all(side);
    }

    static void remove_all(Side side) {
        struct shm_info sums {};
        const int highest = shm_ctl(side, 0, SHM_INFO, &sums);
        for (int index = 0; index <= highest; ++index) {
            struct shmid_ds what {};
            const int id = shm_ctl(side, index, SHM_STAT_ANY, &what);
            if (id >= 0)
                shm_ctl(side, id, IPC_RMID, nullptr);
        }
    }

    void same(const std::string& command) {
        const Output kernel = kernel_.run(command);
        const Output regions = regions_.run(command);
        EXPECT_EQ(kernel.status, regions.status) << command << "\n" << regions.text;
        EXPECT_EQ(kernel.text, regions.text) << command;
    }

    // A segment that this process has attached, called by the name.
    void attach(const std::string& name, key_t key, std::size_t bytes, int mode) {
        for (const Side side : {kKernel, kRegions}) {
            const int id = shm_get(side, key, bytes, IPC_CREAT | mode);
            ASSERT_GE(id, 0);
            attached_[side] = shm_at(side, id, nullptr, 0);
            ASSERT_NE(attached_[side], reinterpret_cast<void*>(-1));
            (side == kKernel ? kernel_ : regions_).name(name, std::to_string(id));
        }
    }

    World kernel_{kKernel};
    World regions_{kRegions};
    void* attached_[kSides] = {};
};

TEST_F(SysvCommands, SayTheSameOfSegmentsThatComeAndGo) {
    for (const char* command : {"ipcs -m",
                                "ipcmk -M 10000 -p 0640",
                                "ipcmk -M 1",
                                "ipcmk -M 4096",
                                "ipcmk -M 0",
                                "ipcs -m",
                                "ipcs -m -c",
                                "ipcs -m -t",
                                "ipcs -m -p",
                                "ipcs -m -u",
                                "ipcs -m -i {A}",
                                "ipcs -m -i {C}",
                                "setpriv --reuid 1000 --regid 1000 --clear-groups ipcrm -m {A}",
                                "setpriv --reuid 1000 --regid 1000 --clear-groups ipcs -m",
                                "ipcrm -m {A}",
                                "ipcs -m -i {A}",
                                "ipcrm -m {A}",
                                "ipcrm -m 12345",
                                "ipcrm -M 0x12345",
                                "ipcs -m",
                                "ipcrm -a",
                                "ipcs -m",
                                "ipcs -m -u"})
        same(command);
}

TEST_F(SysvCommands, SayTheSameOfSegmentsThatAreAttachedAndRemoved) {
    ASSERT_NO_FATAL_FAILURE(attach("X", kKey, 5000, 0604));
    for (const char* command :
         {"ipcs -m", "ipcs -m -p", "ipcs -m -t", "ipcs -m -i {X}", "ipcmk -M 4096", "ipcs -m -u",
          "ipcrm -M 0x57a80001", "ipcs -m", "ipcs -m -i {X}", "ipcs -m -c", "ipcrm -M 0x57a80001",
          "ipcrm -m {X}", "ipcrm -a", "ipcs -m"})
        same(command);
    for (const Side side : {kKernel, kRegions})
        EXPECT_EQ(shm_dt(side, attached_[side]), 0);
    same("ipcs -m");
    same("ipcs -m -i {X}");
}

TEST_F(SysvCommands, PerlSharesAWord) {
    const std::string create = "perl -e '$i = shmget(0x57a80002, 100, 01640); print defined $i ? "
                               "\"made\" : \"$!\"; shmwrite($i, \"a word\", 10, 6) or print $!'";
    const std::string read =
        "perl -e '$i = shmget(0x57a80002, 0, 0); print defined $i ? \"found \" "
        ": \"$! \"; shmread($i, $t, 10, 6) or print $!; print $t'";
    same(create);
    same(read);
    same("setpriv --reuid 1000 --regid 1000 --clear-groups " + read);
    same("perl -e 'shmget(0x57a80002, 101, 0) or print $!'");
    same("perl -e 'shmget(0x57a80002, 100, 03600) or print $!'");
    same("perl -e '$i = shmget(0x57a80002, 0, 0); shmctl($i, 0, 0) or print $!'");
    same(read);
}

TEST_F(SysvCommands, StmctlListsThemAsIpcsDoes) {
    ASSERT_NO_FATAL_FAILURE(attach("X", kKey, 5000, 0604));
    ASSERT_EQ(regions_.run("ipcmk -M 4096; ipcrm -m {X}").status, 0);
    EXPECT_EQ(shell("stmctl ipcs").text, shell("LD_PRELOAD=libstm-sysv.so ipcs -m").text);
    EXPECT_NE(shell("stmctl ipcs").text.find("dest"), std::string::npos);
    EXPECT_EQ(shell("stmctl ipcs --json | grep -c '\"name\"'").text, "2\n");
    EXPECT_EQ(shm_dt(kRegions, attached_[kRegions]), 0);
    EXPECT_EQ(shm_dt(kKernel, attached_[kKernel]), 0);
}

} // namespace
} // namespace stm::world
