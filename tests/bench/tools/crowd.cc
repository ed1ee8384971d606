// SPDX-License-Identifier: GPL-2.0
// Many processes that use many regions: "crowd REGIONS PROCESSES PAUSE_MS". Each process changes a
// number in its region and pauses, again and again, until it is killed. A line says when all of
// them are there. They end with the first one.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stm/stm.h>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

[[noreturn]] void fail(const char* what) {
    std::perror(what);
    std::exit(1);
}

[[noreturn]] void use(const std::string& name, unsigned number, unsigned pause) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int fd = stm_open(name.c_str(), 65536, STM_CREATE | STM_CLOEXEC, 0600);
    if (fd < 0)
        fail("stm_open");
    std::minstd_rand random(number + 1);
    for (;;) {
        long value = 0;
        if (pread(fd, &value, sizeof value, 0) != sizeof value)
            fail("pread");
        ++value;
        if (pwrite(fd, &value, sizeof value, 0) != sizeof value)
            fail("pwrite");
        usleep(static_cast<useconds_t>(500 * pause + random() % (1000 * pause)));
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: crowd REGIONS PROCESSES PAUSE_MS\n");
        return 2;
    }
    const auto regions = static_cast<unsigned>(std::atoi(argv[1]));
    const auto processes = static_cast<unsigned>(std::atoi(argv[2]));
    const auto pause = static_cast<unsigned>(std::atoi(argv[3]));
    for (unsigned number = 0; number < processes; ++number) {
        const pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0)
            use("crowd-" + std::to_string(number % regions), number, pause);
    }
    std::printf("%u processes use %u regions\n", processes, regions);
    std::fflush(stdout);
    while (wait(nullptr) > 0)
        continue;
    return 1; // none of them ends by itself
}
