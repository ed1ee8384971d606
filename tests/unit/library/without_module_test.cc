// SPDX-License-Identifier: GPL-2.0
// The public functions where no module is loaded: bad arguments are refused first, then ENODEV says
// what is missing.
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <stm/ioctl.h>
#include <stm/shm.h>
#include <stm/ssmem.h>
#include <stm/stm.h>
#include <string>

namespace {

class WithoutModule : public ::testing::Test {
protected:
    void SetUp() override { ::setenv("STM_DEVICE", "/nonexistent/stm", 1); }
    void TearDown() override {
        ::unsetenv("STM_DEVICE");
        ::unsetenv("STM_DEBUG");
    }
};

int error_of(long result) {
    return result == -1 ? errno : 0;
}

TEST_F(WithoutModule, EverythingIsEnodev) {
    char path[] = "/tmp/stm-test-node";
    char name[] = "name";
    EXPECT_EQ(error_of(stm_create(path, 4096)), ENODEV);
    EXPECT_EQ(error_of(stm_open("name", 4096, STM_CREATE, 0600)), ENODEV);
    EXPECT_EQ(error_of(stm_unlink("name")), ENODEV);
    EXPECT_EQ(error_of(stm_unlink_deferred("name")), ENODEV);
    EXPECT_EQ(error_of(shm_create(4096)), ENODEV);
    EXPECT_EQ(error_of(shm_attach(0x10001, nullptr)), ENODEV);
    EXPECT_EQ(error_of(shm_destroy(0x10001)), ENODEV);
    EXPECT_EQ(error_of(ssmem_attach(name, SSMEM_FLAG_CREATE, 4096)), ENODEV);
}

TEST_F(WithoutModule, AnotherDeviceIsEnodevToo) {
    for (const char* device : {"/dev/null", "/dev/zero", "/etc/passwd"}) {
        ::setenv("STM_DEVICE", device, 1);
        EXPECT_EQ(error_of(stm_open("name", 4096, STM_CREATE, 0600)), ENODEV) << device;
    }
}

TEST_F(WithoutModule, BadArgumentsComeFirst) {
    char path[] = "/tmp/stm-test-node", name[] = "name", empty[] = "";
    std::string long_name(256, 'x');
    EXPECT_EQ(error_of(stm_create(nullptr, 4096)), EINVAL);
    EXPECT_EQ(error_of(stm_create(path, 0)), EINVAL);
    EXPECT_EQ(error_of(stm_create(path, INT_MIN)), EINVAL);
    EXPECT_EQ(error_of(stm_open(nullptr, 4096, STM_CREATE, 0600)), EINVAL);
    EXPECT_EQ(error_of(stm_open("", 4096, STM_CREATE, 0600)), EINVAL);
    EXPECT_EQ(error_of(stm_open(long_name.c_str(), 4096, STM_CREATE, 0600)), ENAMETOOLONG);
    EXPECT_EQ(error_of(stm_open("name", 4096, STM_EXCL, 0600)), EINVAL);
    EXPECT_EQ(error_of(stm_open("name", 4096, STM_CREATE, 010000)), EINVAL);
    EXPECT_EQ(error_of(stm_unlink(nullptr)), EINVAL);
    EXPECT_EQ(error_of(stm_size(-1)), EBADF);
    EXPECT_EQ(error_of(shm_create(0)), EINVAL);
    EXPECT_EQ(error_of(shm_attach(0x10001, reinterpret_cast<void*>(1))), EINVAL);
    EXPECT_EQ(error_of(shm_attach(-1, nullptr)), EINVAL);
    EXPECT_EQ(error_of(shm_detach(5)), EINVAL);
    EXPECT_EQ(shm_address(5), nullptr);
    EXPECT_EQ(error_of(ssmem_attach(nullptr, 0, 1)), EINVAL);
    EXPECT_EQ(error_of(ssmem_attach(empty, 0, 1)), EINVAL);
    EXPECT_EQ(error_of(ssmem_attach(name, 0, 0)), EINVAL);
    EXPECT_EQ(error_of(ssmem_attach(name, 8, 1)), EINVAL);
    EXPECT_EQ(error_of(ssmem_attach(name, SSMEM_FLAG_WRITE | SSMEM_FLAG_EXEC, 1)), EINVAL);
    EXPECT_EQ(error_of(ssmem_attach(long_name.data() + 6, SSMEM_FLAG_CREATE, 1)), ENAMETOOLONG);
    EXPECT_EQ(error_of(ssmem_detach(name)), EINVAL);
    EXPECT_EQ(error_of(ssmem_write(name, name)), EINVAL);
    EXPECT_EQ(error_of(ssmem_read(name, name)), EINVAL);
}

TEST_F(WithoutModule, DebugSaysWhy) {
    ::setenv("STM_DEBUG", "1", 1);
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(stm_open("name", 0, 0, 0), -1);
    EXPECT_EQ(errno, ENODEV) << "the message keeps errno";
    std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("insmod stm.ko"), std::string::npos) << said;
    for (const char* off : {"", "0"}) {
        ::setenv("STM_DEBUG", off, 1);
        ::testing::internal::CaptureStderr();
        EXPECT_EQ(stm_open("name", 0, 0, 0), -1);
        EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
    }
}

TEST(Version, IsThatOfTheHeaders) {
    EXPECT_STREQ(stm_version(), STM_VERSION_STRING);
    EXPECT_EQ(std::string(STM_VERSION_STRING), std::to_string(STM_VERSION_MAJOR) + "." +
                                                   std::to_string(STM_VERSION_MINOR) + "." +
                                                   std::to_string(STM_VERSION_PATCH));
    EXPECT_STREQ(STM_VERSION_STRING, STM_PROJECT_VERSION) << "project() in CMakeLists.txt";
}

} // namespace
