// SPDX-License-Identifier: GPL-2.0
// The limits on what users can make the kernel hold. They are parameters of the module, lowered
// here and restored, so nothing else may run beside these tests.
#include "guest.hpp"

#include <fcntl.h>
#include <fstream>
#include <sys/resource.h>

using namespace stm::test;

namespace {

// One parameter, as it was again at the end of a test.
class Parameter {
public:
    Parameter(const std::string& name, unsigned long value)
        : path_("/sys/module/stm/parameters/" + name) {
        std::ifstream(path_) >> before_;
        set(value);
        unsigned long now = 0;
        std::ifstream(path_) >> now;
        EXPECT_EQ(now, value) << path_;
    }
    ~Parameter() { set(before_); }
    Parameter(const Parameter&) = delete;
    Parameter& operator=(const Parameter&) = delete;

private:
    void set(unsigned long value) { std::ofstream(path_) << value << std::endl; }

    std::string path_;
    unsigned long before_ = 0;
};

struct stm_version totals() {
    auto version = make<struct stm_version>();
    EXPECT_EQ(request(STM_IOC_VERSION, &version), 0);
    return version;
}

int create_error(const std::string& name, std::size_t size) {
    Fd fd(stm_open(name.c_str(), size, STM_CREATE | STM_EXCL | STM_PLAIN | STM_EPHEMERAL, 0600));
    return fd ? 0 : errno;
}

class Limits : public ::testing::Test {
protected:
    void SetUp() override { before_ = totals(); }
    void TearDown() override {
        struct stm_version after = totals();
        EXPECT_EQ(after.regions, before_.regions) << "a region was left behind";
        EXPECT_EQ(after.bytes, before_.bytes) << "bytes were left charged";
        EXPECT_EQ(after.resident_bytes, before_.resident_bytes) << "pages were left behind";
    }
    struct stm_version before_ {};
};

// Whether the file of a parameter takes a text; what is in it afterwards.
struct Written {
    bool taken;
    std::string now;
};
Written write_parameter(const std::string& name, const std::string& text) {
    const std::string path = "/sys/module/stm/parameters/" + name;
    const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    const bool taken = ::write(file.get(), text.data(), text.size()) >= 0;
    EXPECT_TRUE(taken || errno == EINVAL) << std::strerror(errno);
    std::string now;
    std::ifstream(path) >> now;
    return {taken, now};
}

TEST_F(Limits, ThatMakeNoSenseAreRefusedAtRunTime) {
    for (const auto& [name, text] :
         std::vector<std::pair<std::string, std::string>>{{"max_stripes", "0"},
                                                          {"max_stripes", "4294967295"},
                                                          {"predicted_pages", "257"},
                                                          {"predicted_pages", "100000"},
                                                          {"warm_pages", "129"},
                                                          {"max_contexts", "0"},
                                                          {"max_user_regions", "0"},
                                                          {"max_region_bytes", "4095"},
                                                          {"default_size", "0"},
                                                          {"max_bytes", "-1"},
                                                          {"watchdog_ms", "often"}}) {
        std::string before;
        std::ifstream("/sys/module/stm/parameters/" + name) >> before;
        const Written written = write_parameter(name, text);
        EXPECT_FALSE(written.taken) << name << '=' << text;
        EXPECT_EQ(written.now, before) << name;
    }
    // A size of 0 is the default, as at load.
    const std::string usual = write_parameter("max_region_bytes", "0").now;
    EXPECT_EQ(write_parameter("max_region_bytes", "8192").now, "8192");
    EXPECT_EQ(create_error("as the limit", 3 * kPage), EFBIG);
    EXPECT_EQ(write_parameter("max_region_bytes", "0").now, usual);
    EXPECT_NE(usual, "0");
    EXPECT_EQ(create_error("as the limit", 3 * kPage), 0);
}

TEST_F(Limits, OfAUsersRegionsAreKept) {
    Parameter limit("max_user_regions", 3);
    EXPECT_EQ(totals().max_user_regions, 3u);
    EXPECT_EQ(as_user(kNobody,
                      [] {
                          std::vector<Fd> open;
                          for (int index = 0; index < 3; ++index) {
                              open.emplace_back(stm_open(unique_name("count").c_str(), kPage,
                                                         STM_CREATE | STM_PLAIN | STM_EPHEMERAL,
                                                         0600));
                              ASSERT_TRUE(open.back()) << std::strerror(errno);
                          }
                          EXPECT_EQ(create_error(unique_name("one more"), kPage), ENOSPC);
                          open.pop_back();
                          EXPECT_EQ(create_error(unique_name("room again"), kPage), 0);
                      }),
              0);
}

TEST_F(Limits, OfAUsersBytesAreKept) {
    Parameter limit("max_user_bytes", 10 * kPage);
    EXPECT_EQ(as_user(kNobody,
                      [] {
                          EXPECT_EQ(create_error(unique_name("all"), 10 * kPage), 0);
                          EXPECT_EQ(create_error(unique_name("too much"), 10 * kPage + 1), ENOSPC);
                          Fd held(stm_open(unique_name("part").c_str(), 6 * kPage,
                                           STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600));
                          ASSERT_TRUE(held);
                          EXPECT_EQ(create_error(unique_name("rest"), 4 * kPage), 0);
                          EXPECT_EQ(create_error(unique_name("more than the rest"), 5 * kPage),
                                    ENOSPC);
                      }),
              0);
    EXPECT_EQ(as_user(kNobody - 1,
                      [] { EXPECT_EQ(create_error(unique_name("another user"), 10 * kPage), 0); }),
              0);
}

TEST_F(Limits, OfOneRegionAreKept) {
    Parameter limit("max_region_bytes", 4 * kPage);
    EXPECT_EQ(create_error(unique_name("fits"), 4 * kPage), 0);
    EXPECT_EQ(create_error(unique_name("does not"), 4 * kPage + 1), EFBIG);
}

TEST_F(Limits, OfAllBytesAreKept) {
    Parameter limit("max_bytes", before_.bytes + 8 * kPage);
    EXPECT_EQ(create_error(unique_name("fits"), 8 * kPage), 0);
    EXPECT_EQ(create_error(unique_name("does not"), 9 * kPage), ENOSPC);
}

TEST_F(Limits, HoldAlsoForWhatTheLibraryMakes) {
    Parameter limit("max_bytes", before_.bytes + 2 * kPage);
    std::string path = unique_path("limit");
    EXPECT_EQ(stm_create(path.data(), 3 * static_cast<int>(kPage)), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_NE(::access(path.c_str(), F_OK), 0) << "a node was left behind";
}

TEST_F(Limits, OfTheNumberOfRegionsAreKept) {
    unsigned most = totals().max_regions;
    if (most > 8192)
        GTEST_SKIP() << "max_regions is " << most << ": too many to make";
    struct rlimit descriptors {
        most + 100, most + 100
    };
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &descriptors), 0) << std::strerror(errno);
    std::vector<Fd> open;
    int error = 0;
    for (unsigned index = before_.regions; index < most + 2 && error == 0; ++index) {
        Fd fd(stm_open(unique_name("many").c_str(), kPage,
                       STM_CREATE | STM_PLAIN | STM_EPHEMERAL | STM_CLOEXEC, 0600));
        error = fd ? 0 : errno;
        if (fd)
            open.push_back(std::move(fd));
    }
    EXPECT_EQ(error, ENOSPC);
    EXPECT_EQ(totals().regions, most);
}

TEST_F(Limits, AThousandLivesLeaveNothing) {
    for (int round = 0; round < 1000; ++round) {
        std::string name = unique_name("life");
        Fd fd(stm_open(name.c_str(), 4 * kPage, STM_CREATE | STM_PLAIN, 0600));
        ASSERT_TRUE(fd) << std::strerror(errno);
        ASSERT_EQ(::pwrite(fd.get(), "x", 1, kPage), 1);
        Mapping mapping(fd.get(), 4 * kPage);
        *mapping.at(2 * kPage) = 1;
        ASSERT_EQ(stm_unlink_deferred(name.c_str()), 0);
    }
}

} // namespace
