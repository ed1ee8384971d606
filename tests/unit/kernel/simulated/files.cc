// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/identity.hpp"
#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"

#include <cerrno>
#include <mutex>
#include <string>
#include <vector>

struct stm_file {
    stm_handle* handle;
    stm_identity* identity;
    std::string name;
    unsigned int access;
    bool has_descriptor = false;
    int references = 1; // under the descriptors' lock
};

namespace stm::simulated {

namespace {

struct Descriptor {
    bool used = false;
    bool close_on_exec = false;
    stm_file* file = nullptr;
};

std::mutex descriptor_lock;
std::vector<Descriptor> descriptors;
std::size_t descriptor_limit = 1024;

void forget_file(stm_file* file) {
    {
        const std::lock_guard held(descriptor_lock);
        if (--file->references != 0)
            return;
    }
    stm_core_release(file->handle);
    put(file->identity);
    counters.files.fetch_sub(1, kRelaxed);
    delete file;
}

} // namespace

FileState file_at(int descriptor) {
    const std::lock_guard held(descriptor_lock);
    const auto place = static_cast<std::size_t>(descriptor);
    if (descriptor < 0 || place >= descriptors.size() || descriptors[place].file == nullptr)
        return {};
    const stm_file& file = *descriptors[place].file;
    return {file.handle, file.identity, file.name, file.access, descriptors[place].close_on_exec};
}

void close_descriptor(int descriptor) {
    stm_file* file = nullptr;
    {
        const std::lock_guard held(descriptor_lock);
        Descriptor& entry = descriptors.at(static_cast<std::size_t>(descriptor));
        file = entry.file;
        if (file == nullptr) {
            violated("a descriptor is closed that nothing was installed at");
            return;
        }
        entry = Descriptor();
    }
    counters.descriptors.fetch_sub(1, kRelaxed);
    forget_file(file);
}

const stm_file* still_open() {
    static const stm_file file{nullptr, nullptr, "", 0, true};
    return &file;
}

const stm_file* closed_for_good() {
    static const stm_file file{nullptr, nullptr, "", 0, false};
    return &file;
}

void limit_descriptors(std::size_t limit) {
    const std::lock_guard held(descriptor_lock);
    descriptor_limit = limit;
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

int stm_linux_file_create(stm_handle* handle, stm_identity* identity, stm_view* view,
                          const char* name, unsigned int access, stm_file** file) {
    const Service service("file_create", Context::no_core_lock, Failure::file);
    expect(view == stm_core_view(handle), "a file is created with the view of another handle");
    if (service.fails())
        return -ENFILE;
    get(identity);
    counters.files.fetch_add(1, kRelaxed);
    *file = new stm_file{handle, identity, name, access};
    return 0;
}

void stm_linux_file_drop(stm_file* file) {
    const Service service("file_drop", Context::no_core_lock);
    forget_file(file);
}

void stm_linux_file_install(int descriptor, stm_file* file) {
    const Service service("file_install", Context::no_core_lock);
    const std::lock_guard held(descriptor_lock);
    Descriptor& entry = descriptors.at(static_cast<std::size_t>(descriptor));
    expect(entry.used && entry.file == nullptr, "a file is installed where none was reserved");
    entry.file = file;
}

stm_handle* stm_linux_descriptor_handle(int descriptor, stm_file** file) {
    const Service service("descriptor_handle", Context::no_core_lock);
    const std::lock_guard held(descriptor_lock);
    const auto place = static_cast<std::size_t>(descriptor);
    if (descriptor < 0 || place >= descriptors.size() || descriptors[place].file == nullptr)
        return nullptr;
    *file = descriptors[place].file;
    ++(*file)->references;
    return (*file)->handle;
}

int stm_linux_file_has_descriptor(const stm_file* file) {
    return file != nullptr && file->has_descriptor;
}

int stm_linux_descriptor_reserve(int close_on_exec) {
    const Service service("descriptor_reserve", Context::no_core_lock, Failure::descriptor);
    if (service.fails())
        return -EMFILE;
    const std::lock_guard held(descriptor_lock);
    std::size_t place = 0;
    while (place < descriptors.size() && descriptors[place].used)
        ++place;
    if (place == descriptor_limit)
        return -EMFILE;
    if (place == descriptors.size())
        descriptors.emplace_back();
    descriptors[place] = {true, close_on_exec != 0, nullptr};
    counters.descriptors.fetch_add(1, kRelaxed);
    return static_cast<int>(place);
}

void stm_linux_descriptor_release(int descriptor) {
    const Service service("descriptor_release", Context::no_core_lock);
    const std::lock_guard held(descriptor_lock);
    Descriptor& entry = descriptors.at(static_cast<std::size_t>(descriptor));
    expect(entry.used && entry.file == nullptr, "a descriptor is released that is not reserved");
    entry = Descriptor();
    counters.descriptors.fetch_sub(1, kRelaxed);
}

} // extern "C"
