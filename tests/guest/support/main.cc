// SPDX-License-Identifier: GPL-2.0
// The main function of every program of tests/guest. Without the module they fail: a test that
// could not run is no test that passed.
#include "guest.hpp"

#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    if (argc > 1 && std::strcmp(argv[1], "--helper") == 0)
        return stm::test::run_helper(argc, argv);
    if (::testing::GTEST_FLAG(list_tests))
        return RUN_ALL_TESTS();
    stm::test::Fd device(::open("/dev/stm", O_RDWR | O_CLOEXEC));
    if (!device) {
        std::fprintf(stderr,
                     "%s: /dev/stm: %s. These tests need the loaded module: ci/vm run -- %s\n",
                     argv[0], std::strerror(errno), argv[0]);
        return 1;
    }
    if (::geteuid() != 0) {
        std::fprintf(stderr, "%s: these tests change users and make nodes: run them as root\n",
                     argv[0]);
        return 1;
    }
    auto version = stm::test::make<struct stm_version>();
    int error = stm::test::request(device.get(), STM_IOC_VERSION, &version);
    if (error != 0 || version.abi_major != STM_ABI_MAJOR) {
        std::fprintf(stderr, "%s: the loaded module is not of this version: %s\n", argv[0],
                     error != 0 ? std::strerror(error) : "another interface");
        return 1;
    }
    device.reset();
    ::umask(022);
    return RUN_ALL_TESTS();
}
