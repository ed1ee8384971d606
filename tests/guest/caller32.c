// SPDX-License-Identifier: GPL-2.0
// A 32-bit process: every request of the interface, and a region mapped. Prints what went wrong.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stm/ioctl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(sizeof(void*) == 4, "built for 32 bits");

static int failures;

static void expect(int condition, const char* what) {
    if (condition)
        return;
    printf("%s: ", what);
    fflush(stdout);
    perror("");
    ++failures;
}

int main(int argc, char** argv) {
    const char* name = argc > 1 ? argv[1] : "caller32";
    int device = open("/dev/stm", O_RDWR);
    expect(device >= 0, "/dev/stm");

    struct stm_version version = {.size = sizeof version};
    expect(ioctl(device, STM_IOC_VERSION, &version) == 0, "VERSION");
    expect(version.abi_major == STM_ABI_MAJOR && version.page_size == 4096,
           "the answer of VERSION");

    struct stm_open region = {.size = sizeof region,
                              .flags = STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE,
                              .region_size = 5000,
                              .region_flags = STM_REGION_PLAIN,
                              .mode = 0600};
    strncpy(region.name, name, sizeof region.name - 1);
    int fd = ioctl(device, STM_IOC_OPEN, &region);
    expect(fd >= 0, "OPEN");
    expect(region.region_size == 8192, "the answer of OPEN");

    struct stm_set_size size = {.size = sizeof size, .region_size = 8192};
    expect(ioctl(fd, STM_IOC_SET_SIZE, &size) == 0, "SET_SIZE");

    char* memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    expect(memory != MAP_FAILED, "mmap");
    memory[5000] = 'x';
    char byte = 0;
    expect(pread(fd, &byte, 1, 5000) == 1 && byte == 'x', "pread");

    struct stm_info info = {.size = sizeof info, .flags = STM_BY_NAME};
    strncpy(info.name, name, sizeof info.name - 1);
    expect(ioctl(device, STM_IOC_INFO, &info) == 0, "INFO");
    expect(info.id == region.id && info.resident_bytes == 4096 && info.mappings == 1,
           "the answer of INFO");

    struct stm_attachment list[4];
    struct stm_attachments attachments = {.size = sizeof attachments,
                                          .flags = STM_BY_HANDLE,
                                          .buffer = (uintptr_t)list,
                                          .capacity = 4};
    expect(ioctl(fd, STM_IOC_ATTACHMENTS, &attachments) == 0, "ATTACHMENTS");
    expect(attachments.count == 2 && list[0].pid == getpid(), "the answer of ATTACHMENTS");

    struct stm_destroy destroy = {.size = sizeof destroy, .flags = STM_BY_ID, .id = region.id};
    expect(ioctl(device, STM_IOC_DESTROY, &destroy) < 0, "DESTROY of a region in use");
    munmap(memory, 8192);
    close(fd);
    expect(ioctl(device, STM_IOC_DESTROY, &destroy) == 0, "DESTROY");
    return failures == 0 ? 0 : 1;
}
