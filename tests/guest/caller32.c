// SPDX-License-Identifier: GPL-2.0
// A 32-bit process: every request of the interface, and a region mapped. It is built without a C
// library, which most machines do not have for 32 bits. Usage: caller32 NAME. Prints what went
// wrong.
#include <stm/ioctl.h>

_Static_assert(sizeof(void*) == 4, "built for 32 bits");

// -- The system calls of i386 --

enum {
    CALL_EXIT = 1,
    CALL_WRITE = 4,
    CALL_OPEN = 5,
    CALL_CLOSE = 6,
    CALL_GETPID = 20,
    CALL_IOCTL = 54,
    CALL_MUNMAP = 91,
    CALL_PREAD = 180,
    CALL_MMAP2 = 192
};

struct arguments {
    long values[6];
};

// The sixth argument goes in %ebp, which the compiler may be using.
long call6(long number, const struct arguments* arguments);
__asm__(".globl call6\n"
        "call6:\n"
        "    pushl %ebp; pushl %ebx; pushl %esi; pushl %edi\n"
        "    movl 20(%esp), %eax\n"
        "    movl 24(%esp), %ebp\n"
        "    movl 0(%ebp), %ebx; movl 4(%ebp), %ecx; movl 8(%ebp), %edx\n"
        "    movl 12(%ebp), %esi; movl 16(%ebp), %edi; movl 20(%ebp), %ebp\n"
        "    int $0x80\n"
        "    popl %edi; popl %esi; popl %ebx; popl %ebp\n"
        "    ret\n");

static long call(long number, long a, long b, long c, long d, long e, long f) {
    struct arguments arguments = {{a, b, c, d, e, f}};
    return call6(number, &arguments);
}

static long request(long fd, long number, void* argument) {
    return call(CALL_IOCTL, fd, number, (long)argument, 0, 0, 0);
}

// -- What a C library would have; the compiler makes calls of memset too --

void* memset(void* memory, int value, unsigned long size) {
    for (char* at = memory; size-- != 0; ++at)
        *at = (char)value;
    return memory;
}

void* memcpy(void* to, const void* from, unsigned long size) {
    char* put = to;
    for (const char* at = from; size-- != 0; ++at)
        *put++ = *at;
    return to;
}

static void copy_name(char* to, const char* name) {
    for (int at = 0; name[at] != '\0' && at < STM_NAME_SIZE - 1; ++at)
        to[at] = name[at];
}

static void print(const char* text) {
    long length = 0;
    while (text[length] != '\0')
        ++length;
    call(CALL_WRITE, 1, (long)text, length, 0, 0, 0);
}

static int failures;

static void expect(int condition, const char* what) {
    if (condition)
        return;
    print("not as expected: ");
    print(what);
    print("\n");
    ++failures;
}

// -- The test --

static int run(const char* name) {
    long device = call(CALL_OPEN, (long)"/dev/stm", 2 /* O_RDWR */, 0, 0, 0, 0);
    expect(device >= 0, "opening /dev/stm");

    struct stm_version version = {.size = sizeof version};
    expect(request(device, STM_IOC_VERSION, &version) == 0, "VERSION");
    expect(version.abi_major == STM_ABI_MAJOR && version.page_size == 4096,
           "the answer of VERSION");

    struct stm_open region = {.size = sizeof region,
                              .flags = STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE,
                              .region_size = 5000,
                              .region_flags = STM_REGION_PLAIN,
                              .mode = 0600};
    copy_name(region.name, name);
    long fd = request(device, STM_IOC_OPEN, &region);
    expect(fd >= 0, "OPEN");
    expect(region.region_size == 8192, "the answer of OPEN");

    struct stm_set_size size = {.size = sizeof size, .region_size = 8192};
    expect(request(fd, STM_IOC_SET_SIZE, &size) == 0, "SET_SIZE");

    long mapped = call(CALL_MMAP2, 0, 8192, 3 /* read, write */, 1 /* MAP_SHARED */, fd, 0);
    expect(mapped > 0 || mapped < -4095, "mmap");
    volatile char* memory = (volatile char*)mapped;
    memory[5000] = 'x';
    char byte = 0;
    expect(call(CALL_PREAD, fd, (long)&byte, 1, 5000, 0, 0) == 1 && byte == 'x', "pread");

    struct stm_info info = {.size = sizeof info, .flags = STM_BY_NAME};
    copy_name(info.name, name);
    expect(request(device, STM_IOC_INFO, &info) == 0, "INFO");
    expect(info.id == region.id && info.resident_bytes == 4096 && info.mappings == 1,
           "the answer of INFO");

    struct stm_attachment list[4] = {0};
    struct stm_attachments attachments = {.size = sizeof attachments,
                                          .flags = STM_BY_HANDLE,
                                          .buffer = (unsigned long)list,
                                          .capacity = 4};
    expect(request(fd, STM_IOC_ATTACHMENTS, &attachments) == 0, "ATTACHMENTS");
    expect(attachments.count == 2 && list[0].pid == call(CALL_GETPID, 0, 0, 0, 0, 0, 0) &&
               list[1].address == (unsigned long)mapped,
           "the answer of ATTACHMENTS");

    // Transactions by calls of several pieces.
    struct stm_open more = {.size = sizeof more,
                            .flags =
                                STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE | STM_OPEN_EXCL,
                            .region_size = 8192,
                            .region_flags = STM_REGION_EPHEMERAL,
                            .mode = 0600};
    copy_name(more.name, name);
    more.name[0] = '2';
    long transactional = request(device, STM_IOC_OPEN, &more);
    expect(transactional >= 0, "OPEN of a transactional region");
    int sent[2] = {5, 6}, seen[2] = {0, 0};
    struct stm_vector_piece pieces[3] = {
        {.offset = 4094, .address = (unsigned long)sent, .bytes = 8, .flags = STM_PIECE_WRITE},
        {.offset = 4094, .address = (unsigned long)&seen[0], .bytes = 4},
        {.offset = 4098, .address = (unsigned long)&seen[1], .bytes = 4}};
    struct stm_vector vector = {.size = sizeof vector, .pieces = (unsigned long)pieces, .count = 3};
    expect(request(transactional, STM_IOC_VECTOR, &vector) == 0, "VECTOR alone");
    expect(seen[0] == 5 && seen[1] == 6, "what VECTOR read");
    sent[0] = 7;
    vector.flags = STM_VECTOR_COMMIT;
    expect(request(transactional, STM_IOC_VECTOR, &vector) == -22 /* EINVAL */,
           "COMMIT without a transaction");
    expect(call(CALL_IOCTL, transactional, STM_IOC_START, 0, 0, 0, 0) == 1, "START");
    expect(request(transactional, STM_IOC_VECTOR, &vector) == 0, "VECTOR with COMMIT");
    expect(seen[0] == 7, "what VECTOR with COMMIT read");
    pieces[1].address = 0x100000000;
    vector.flags = 0;
    expect(request(transactional, STM_IOC_VECTOR, &vector) == -14 /* EFAULT */,
           "memory that a 32-bit process cannot have");
    call(CALL_CLOSE, transactional, 0, 0, 0, 0, 0);

    struct stm_destroy destroy = {.size = sizeof destroy, .flags = STM_BY_ID, .id = region.id};
    expect(request(device, STM_IOC_DESTROY, &destroy) == -16 /* EBUSY */,
           "DESTROY of a region in use");
    call(CALL_MUNMAP, mapped, 8192, 0, 0, 0, 0);
    call(CALL_CLOSE, fd, 0, 0, 0, 0, 0);
    expect(request(device, STM_IOC_DESTROY, &destroy) == 0, "DESTROY");
    return failures == 0 ? 0 : 1;
}

__attribute__((used, noreturn)) static void start(long count, char** words) {
    int status = run(count > 1 ? words[1] : "caller32");
    for (;;)
        call(CALL_EXIT, status, 0, 0, 0, 0, 0);
}

__asm__(".globl _start\n"
        "_start:\n"
        "    movl (%esp), %eax\n"
        "    leal 4(%esp), %edx\n"
        "    andl $-16, %esp\n"
        "    subl $8, %esp\n"
        "    pushl %edx\n"
        "    pushl %eax\n"
        "    call start\n");
