// SPDX-License-Identifier: GPL-2.0
// What stmctl says without a module: its help, wrong usage, and that there is no module.
#include <array>
#include <cstdio>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>

namespace {

struct Output {
    int status = -1;
    std::string text; // both streams
};

Output stmctl(const std::string& arguments) {
    // A file that is no device of the module, also where there is one.
    const std::string command = "STM_DEVICE=/dev/null '" STMCTL "' " + arguments + " 2>&1";
    Output output;
    FILE* stream = ::popen(command.c_str(), "r");
    if (!stream)
        return output;
    std::array<char, 4096> bytes{};
    while (std::size_t count = std::fread(bytes.data(), 1, bytes.size(), stream))
        output.text.append(bytes.data(), count);
    const int status = ::pclose(stream);
    output.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return output;
}

void expect(const std::string& arguments, int status, const std::string& text) {
    const Output output = stmctl(arguments);
    EXPECT_EQ(output.status, status) << arguments;
    EXPECT_NE(output.text.find(text), std::string::npos) << arguments << ":\n" << output.text;
}

TEST(Stmctl, HasHelpWithItsExitStatuses) {
    for (const char* command :
         {"", "ls ", "info ", "create ", "rm ", "attachments ", "chmod ", "statistics ", "limits ",
          "dump ", "load ", "chown ", "stat ", "hexdump ", "doctor ", "completion ", "copy "})
        expect(std::string(command) + "--help", 0,
               "Exit status: 0 done, 1 the operation failed, 2 wrong usage, 3");
}

TEST(Stmctl, SaysWhatIsWrongWithACommandLine) {
    expect("", 2, "give a command");
    expect("nonsense", 2, "there is no command 'nonsense'; the commands are ls, ");
    expect("--nonsense", 2, "there is no option '--nonsense'");
    for (const char* command : {"info", "statistics", "rm", "dump", "load", "chmod", "chown",
                                "hexdump", "copy", "create"})
        expect(command, 2, "NAME");
    for (const char* arguments :
         {"info --id x7", "info name --id 7", "create x", "create x 5Q", "create x 4K --mode 9"})
        expect(arguments, 2, "");
}

TEST(Stmctl, SaysHowToGetAModule) {
    expect("ls", 3, "modprobe stm");
    expect("ls", 3, "insmod stm.ko");
}

} // namespace
