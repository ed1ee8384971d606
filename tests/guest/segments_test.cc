// SPDX-License-Identifier: GPL-2.0
// stm/shm.h and stm/ssmem.h: segments by number and by name.
#include "guest.hpp"

#include <csignal>
#include <fcntl.h>
#include <stm/shm.h>
#include <stm/ssmem.h>
#include <thread>

using namespace stm::test;

namespace {

// -- By number --

class Shm : public ::testing::Test {
protected:
    void SetUp() override { ASSERT_GT(id_, 0) << std::strerror(errno); }
    void TearDown() override {
        shm_detach(id_);
        shm_destroy(id_);
    }
    int id_ = shm_create(5000);
};

TEST_F(Shm, HoldsZerosAndIsAsLargeAsWholePages) {
    ASSERT_EQ(shm_attach(id_, nullptr), 0);
    const char* memory = static_cast<const char*>(shm_address(id_));
    ASSERT_NE(memory, nullptr);
    for (std::size_t at = 0; at < 2 * kPage; ++at)
        ASSERT_EQ(memory[at], 0);
}

TEST_F(Shm, IsAttachedWhereWished) {
    void* where = reinterpret_cast<void*>(0x10000000);
    ASSERT_EQ(shm_attach(id_, where), 0) << std::strerror(errno);
    EXPECT_EQ(shm_address(id_), where);
    *static_cast<int*>(where) = 1;
    EXPECT_EQ(Child::doing([&] {
                  // The child has what the parent attached, and can move it.
                  EXPECT_EQ(shm_address(id_), where);
                  EXPECT_EQ(shm_detach(id_), 0);
                  void* elsewhere = reinterpret_cast<void*>(0x20000000);
                  ASSERT_EQ(shm_attach(id_, elsewhere), 0) << std::strerror(errno);
                  EXPECT_EQ(*static_cast<int*>(elsewhere), 1);
                  *static_cast<int*>(elsewhere) = 2;
              }).wait(),
              0);
    EXPECT_EQ(*static_cast<int*>(where), 2);
}

TEST_F(Shm, RefusesBadAddresses) {
    EXPECT_EQ(shm_attach(id_, reinterpret_cast<void*>(0x10000001)), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(shm_attach(id_, reinterpret_cast<void*>(0x10000800)), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(shm_attach(id_, reinterpret_cast<void*>(~std::uintptr_t{0} - kPage + 1)), -1);
    // Never over something else.
    Mapping taken(-1, 2 * kPage, PROT_READ | PROT_WRITE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    *taken.at(kPage) = 'x';
    EXPECT_EQ(shm_attach(id_, taken.data()), -1);
    EXPECT_EQ(errno, EEXIST);
    EXPECT_EQ(shm_attach(id_, taken.at() - kPage), -1)
        << "its last page would cover another mapping";
    EXPECT_EQ(*taken.at(kPage), 'x');
    EXPECT_EQ(shm_address(id_), nullptr);
}

TEST_F(Shm, IsAttachedOnceAtATime) {
    ASSERT_EQ(shm_attach(id_, nullptr), 0);
    EXPECT_EQ(shm_attach(id_, nullptr), -1);
    EXPECT_EQ(errno, EALREADY);
    EXPECT_EQ(shm_detach(id_), 0);
    EXPECT_EQ(shm_attach(id_, nullptr), 0);
}

TEST_F(Shm, IsGoneAfterDetaching) {
    ASSERT_EQ(shm_attach(id_, nullptr), 0);
    void* memory = shm_address(id_);
    EXPECT_EQ(shm_detach(id_), 0);
    EXPECT_EQ(signal_of_load(memory), SIGSEGV);
    EXPECT_EQ(shm_detach(id_), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(shm_address(id_), nullptr);
}

TEST_F(Shm, IsNotDestroyedWhileAnyoneHasItAttached) {
    ASSERT_EQ(shm_attach(id_, nullptr), 0);
    EXPECT_EQ(shm_destroy(id_), -1);
    EXPECT_EQ(errno, EBUSY);
    Child child([&] {
        ::pause();
        return 0;
    });
    EXPECT_EQ(shm_detach(id_), 0);
    EXPECT_EQ(shm_destroy(id_), -1) << "the child has it";
    EXPECT_EQ(errno, EBUSY);
    child.kill(SIGKILL);
    child.wait();
    EXPECT_EQ(shm_destroy(id_), 0) << std::strerror(errno);
}

TEST_F(Shm, IsDetachedAtExit) {
    EXPECT_EQ(Child::doing([&] { ASSERT_EQ(shm_attach(id_, nullptr), 0); }).wait(), 0);
    EXPECT_EQ(shm_destroy(id_), 0);
}

TEST_F(Shm, IdsOfWhatIsGoneAreRefused) {
    ASSERT_EQ(shm_destroy(id_), 0);
    EXPECT_EQ(shm_destroy(id_), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(shm_attach(id_, nullptr), -1);
    EXPECT_EQ(errno, EINVAL);
    int next = shm_create(1);
    EXPECT_NE(next, id_);
    EXPECT_EQ(shm_attach(id_, nullptr), -1) << "the old id of a new segment";
    EXPECT_EQ(shm_destroy(id_), -1);
    EXPECT_EQ(shm_destroy(next), 0);
    for (int bad : {0, -1, 1 << 30, 0x7fffffff}) {
        EXPECT_EQ(shm_attach(bad, nullptr), -1);
        EXPECT_EQ(errno, EINVAL);
        EXPECT_EQ(shm_detach(bad), -1);
        EXPECT_EQ(shm_destroy(bad), -1);
        EXPECT_EQ(errno, EINVAL);
    }
}

TEST_F(Shm, IdsOfRegionsThatAreNoSegmentsAreRefused) {
    Region region("no segment");
    struct stm_info info = info_of(region.fd());
    int id = static_cast<int>((info.id >> 32 & 0x7fff) << 16 | info.minor);
    EXPECT_EQ(shm_attach(id, nullptr), -1);
    EXPECT_EQ(errno, EINVAL);
    region.close();
    EXPECT_EQ(shm_destroy(id), -1);
    EXPECT_TRUE(exists(region.name()));
}

TEST_F(Shm, RefusesBadSizes) {
    for (int size : {0, -1, static_cast<int>(0x80000000)}) {
        EXPECT_EQ(shm_create(size), -1);
        EXPECT_EQ(errno, EINVAL);
    }
}

TEST_F(Shm, OfAnotherUserIsRefused) {
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          EXPECT_EQ(shm_attach(id_, nullptr), -1);
                          EXPECT_EQ(errno, EACCES);
                          EXPECT_EQ(shm_destroy(id_), -1);
                          EXPECT_EQ(errno, EPERM);
                      }),
              0);
}

TEST(ShmThreads, AttachAndDetachAtOnce) {
    std::vector<std::thread> threads;
    for (int index = 0; index < 4; ++index)
        threads.emplace_back([] {
            for (int round = 0; round < 50; ++round) {
                int id = shm_create(4096);
                ASSERT_GT(id, 0) << std::strerror(errno);
                ASSERT_EQ(shm_attach(id, nullptr), 0) << std::strerror(errno);
                *static_cast<int*>(shm_address(id)) = id;
                ASSERT_EQ(*static_cast<int*>(shm_address(id)), id);
                ASSERT_EQ(shm_detach(id), 0);
                ASSERT_EQ(shm_destroy(id), 0);
            }
        });
    for (std::thread& thread : threads)
        thread.join();
}

// -- By name --

void* attach(std::string name, int flag, std::size_t length = 1) {
    long address = ssmem_attach(name.data(), flag, length);
    EXPECT_NE(address, -1) << std::strerror(errno);
    return address == -1 ? nullptr : reinterpret_cast<void*>(address);
}

int attach_error(std::string name, int flag, std::size_t length = 1) {
    long address = ssmem_attach(name.data(), flag, length);
    if (address == -1)
        return errno;
    ssmem_detach(reinterpret_cast<void*>(address));
    return 0;
}

class Ssmem : public ::testing::Test {
protected:
    void TearDown() override {
        if (creator_ != nullptr) {
            EXPECT_EQ(ssmem_detach(creator_), 0);
        }
        EXPECT_FALSE(exists("ssmem:" + name_)) << "the last detach destroys";
    }
    std::string name_ = unique_name("ssmem");
    void* creator_ = attach(name_, SSMEM_FLAG_CREATE, 8192);
};

TEST_F(Ssmem, CarriesStringsBetweenProcesses) {
    EXPECT_EQ(Child::doing([&] {
                  void* writer = attach(name_, SSMEM_FLAG_WRITE);
                  char text[] = "hello!";
                  EXPECT_EQ(ssmem_write(writer, text), 0) << std::strerror(errno);
                  EXPECT_STREQ(static_cast<char*>(writer), "hello!");
              }).wait(),
              0);
    EXPECT_EQ(Child::doing([&] {
                  void* reader = attach(name_, SSMEM_FLAG_READ);
                  char text[100] = "";
                  EXPECT_EQ(ssmem_read(reader, text), 0);
                  EXPECT_STREQ(text, "hello!");
              }).wait(),
              0);
}

TEST_F(Ssmem, OfAMissingNameWithoutCreateIsEnoent) {
    EXPECT_EQ(attach_error(unique_name("missing"), SSMEM_FLAG_READ), ENOENT);
    EXPECT_EQ(attach_error(unique_name("missing"), SSMEM_FLAG_WRITE), ENOENT);
}

TEST_F(Ssmem, HasItsOwnLengthWhateverIsAskedFor) {
    for (std::size_t asked :
         {std::size_t{1}, std::size_t{4096}, std::size_t{8192}, std::size_t{1} << 20}) {
        void* again = attach(name_, SSMEM_FLAG_READ, asked);
        EXPECT_EQ(ssmem_length(again), 8192);
        EXPECT_EQ(ssmem_detach(again), 0);
        again = attach(name_, SSMEM_FLAG_CREATE, asked);
        EXPECT_EQ(ssmem_length(again), 8192);
        EXPECT_EQ(ssmem_detach(again), 0);
    }
}

TEST_F(Ssmem, IsReadOnlyWithoutTheWriteFlag) {
    EXPECT_EQ(signal_of_store(creator_), SIGSEGV);
    void* reader = attach(name_, SSMEM_FLAG_READ);
    EXPECT_EQ(signal_of_store(reader), SIGSEGV);
    char text[] = "x";
    EXPECT_EQ(ssmem_write(reader, text), -1);
    EXPECT_EQ(errno, EACCES);
    void* writer = attach(name_, SSMEM_FLAG_WRITE);
    EXPECT_EQ(signal_of_store(writer), 0);
    EXPECT_EQ(ssmem_detach(reader), 0);
    EXPECT_EQ(ssmem_detach(writer), 0);
}

TEST_F(Ssmem, NamesThatAFormerVersionConfusedAreApart) {
    std::string stem = unique_name("");
    void* first = attach(stem + "123", SSMEM_FLAG_CREATE | SSMEM_FLAG_WRITE);
    void* second = attach(stem + "321", SSMEM_FLAG_CREATE | SSMEM_FLAG_WRITE);
    char one[] = "one", two[] = "two", text[4096];
    EXPECT_EQ(ssmem_write(first, one), 0);
    EXPECT_EQ(ssmem_write(second, two), 0);
    EXPECT_EQ(ssmem_read(first, text), 0);
    EXPECT_STREQ(text, "one");
    EXPECT_EQ(ssmem_detach(first), 0);
    EXPECT_EQ(ssmem_detach(second), 0);
}

TEST_F(Ssmem, RefusesStringsThatDoNotFit) {
    void* writer = attach(name_, SSMEM_FLAG_WRITE);
    std::string fits(8191, 'f');
    EXPECT_EQ(ssmem_write(writer, fits.data()), 0);
    std::string longer(8192, 'l');
    EXPECT_EQ(ssmem_write(writer, longer.data()), -1);
    EXPECT_EQ(errno, EMSGSIZE);
    std::string text(8192, '?');
    EXPECT_EQ(ssmem_read(writer, text.data()), 0);
    EXPECT_TRUE(text.c_str() == fits) << "something was written";
    char* near_end = static_cast<char*>(writer) + 8190;
    char three[] = "abc", one[] = "a";
    EXPECT_EQ(ssmem_write(near_end, three), -1);
    EXPECT_EQ(errno, EMSGSIZE);
    EXPECT_EQ(ssmem_write(near_end, one), 0);
    EXPECT_EQ(ssmem_detach(writer), 0);
}

TEST_F(Ssmem, ReadsNeverPassTheEnd) {
    void* writer = attach(name_, SSMEM_FLAG_WRITE);
    std::memset(writer, 'n', 8192); // no NUL anywhere
    std::vector<char> text(8192 + 16, '?');
    EXPECT_EQ(ssmem_read(writer, text.data()), 0);
    EXPECT_EQ(std::strlen(text.data()), 8191u);
    EXPECT_EQ(text[8192], '?');
    std::fill(text.begin(), text.end(), '?');
    EXPECT_EQ(ssmem_read(static_cast<char*>(writer) + 8180, text.data()), 0);
    EXPECT_EQ(std::strlen(text.data()), 11u);
    EXPECT_EQ(text[12], '?');
    // A short string touches no more of the buffer than it needs.
    char word[] = "word";
    EXPECT_EQ(ssmem_write(writer, word), 0);
    std::fill(text.begin(), text.end(), '?');
    EXPECT_EQ(ssmem_read(writer, text.data()), 0);
    EXPECT_STREQ(text.data(), "word");
    EXPECT_EQ(text[5], '?');
    EXPECT_EQ(ssmem_detach(writer), 0);
}

TEST_F(Ssmem, RefusesBadArguments) {
    char name[] = "x", text[10] = "";
    EXPECT_EQ(ssmem_attach(nullptr, 0, 1), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(attach_error("", SSMEM_FLAG_CREATE), EINVAL);
    EXPECT_EQ(attach_error(name_, SSMEM_FLAG_CREATE, 0), EINVAL);
    EXPECT_EQ(attach_error(name_, 8), EINVAL);
    EXPECT_EQ(attach_error(name_, -1), EINVAL);
    EXPECT_EQ(attach_error(std::string(250, 'x'), SSMEM_FLAG_CREATE), ENAMETOOLONG);
    EXPECT_EQ(attach_error(std::string(249, 'x'), SSMEM_FLAG_CREATE), 0);
    EXPECT_EQ(attach_error(unique_name("large"), SSMEM_FLAG_CREATE, ~std::size_t{0}), EFBIG);
    EXPECT_EQ(ssmem_detach(name), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(ssmem_detach(static_cast<char*>(creator_) + 4096), -1);
    EXPECT_EQ(ssmem_detach(nullptr), -1);
    EXPECT_EQ(ssmem_read(name, text), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(ssmem_read(creator_, nullptr), -1);
    EXPECT_EQ(ssmem_write(name, text), -1);
    EXPECT_EQ(ssmem_length(name), -1);
}

TEST_F(Ssmem, IsDetachedOnce) {
    void* reader = attach(name_, SSMEM_FLAG_READ);
    EXPECT_EQ(ssmem_detach(reader), 0);
    EXPECT_EQ(signal_of_load(reader), SIGSEGV);
    EXPECT_EQ(ssmem_detach(reader), -1);
    EXPECT_EQ(errno, EINVAL);
}

TEST_F(Ssmem, LivesAsLongAsSomebodyHasItAttached) {
    Child child([&] {
        ::pause();
        return 0;
    });
    EXPECT_EQ(ssmem_detach(creator_), 0);
    creator_ = nullptr;
    EXPECT_EQ(attach_error(name_, SSMEM_FLAG_READ), 0) << "the child inherited it";
    child.kill(SIGKILL);
    child.wait();
    EXPECT_EQ(attach_error(name_, SSMEM_FLAG_READ), ENOENT);
}

TEST_F(Ssmem, IsCreatedOnceByEightProcesses) {
    std::string name = unique_name("race");
    StartingLine start(8), attached(8);
    Mapping ids(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS);
    std::vector<Child> children;
    for (int index = 0; index < 8; ++index)
        children.push_back(Child::doing([&, index] {
            start.wait();
            attach(name, SSMEM_FLAG_CREATE, 4096);
            attached.wait();
            ids.at<std::uint64_t>()[index] = info_of("ssmem:" + name).id;
            EXPECT_EQ(info_of("ssmem:" + name).mappings, 8u);
            // Nobody leaves before all have looked.
            __atomic_add_fetch(ids.at<int>(2048), 1, __ATOMIC_ACQ_REL);
            EXPECT_TRUE(eventually(
                [&] { return __atomic_load_n(ids.at<int>(2048), __ATOMIC_ACQUIRE) == 8; }));
        }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    for (int index = 1; index < 8; ++index)
        EXPECT_EQ(ids.at<std::uint64_t>()[index], ids.at<std::uint64_t>()[0]);
    EXPECT_FALSE(exists("ssmem:" + name));
}

TEST_F(Ssmem, StringsAreNeverTorn) {
    constexpr std::size_t kLength = 6000;
    Mapping stop(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS);
    void* writer = attach(name_, SSMEM_FLAG_WRITE);
    std::string text(kLength, 'a');
    ASSERT_EQ(ssmem_write(writer, text.data()), 0);
    std::vector<Child> readers;
    for (int index = 0; index < 4; ++index)
        readers.push_back(Child::doing([&] {
            void* reader = attach(name_, SSMEM_FLAG_READ);
            std::vector<char> buffer(8192);
            while (__atomic_load_n(stop.at<int>(), __ATOMIC_ACQUIRE) == 0) {
                ASSERT_EQ(ssmem_read(reader, buffer.data()), 0);
                std::string got(buffer.data());
                // The writer's strings have lengths of their own, which a torn one would mix.
                ASSERT_EQ(got.find_first_not_of(got.empty() ? 'a' : got[0]), std::string::npos);
                ASSERT_EQ(got.size(), kLength - static_cast<std::size_t>(got[0] - 'a') * 100);
            }
        }));
    for (int round = 0; round < 300; ++round) {
        auto kind = static_cast<std::size_t>(round % 20);
        text.assign(kLength - kind * 100, static_cast<char>('a' + kind));
        ASSERT_EQ(ssmem_write(writer, text.data()), 0);
    }
    __atomic_store_n(stop.at<int>(), 1, __ATOMIC_RELEASE);
    for (Child& reader : readers)
        EXPECT_EQ(reader.wait(), 0);
    EXPECT_EQ(ssmem_detach(writer), 0);
}

} // namespace
