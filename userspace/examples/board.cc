// SPDX-License-Identifier: LGPL-2.1-or-later
// A board of one line: "board TEXT" writes it, "board" reads it. Each read and write call on a
// handle is atomic: nobody ever reads half of one text and half of another.
#include <array>
#include <cstdio>
#include <cstring>
#include <stm/stm.h>
#include <unistd.h>

int main(int argc, char** argv) {
    std::array<char, 128> line{};
    int fd = stm_open("board", line.size(), STM_CREATE, 0644);
    if (fd < 0) {
        std::perror("stm_open");
        return 1;
    }
    if (argc > 1) {
        std::strncpy(line.data(), argv[1], line.size() - 1);
        return pwrite(fd, line.data(), line.size(), 0) == ssize_t(line.size()) ? 0 : 1;
    }
    if (pread(fd, line.data(), line.size(), 0) != ssize_t(line.size()))
        return 1;
    std::printf("%s\n", line.data());
}
