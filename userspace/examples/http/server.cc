// SPDX-License-Identifier: LGPL-2.1-or-later
// A web server as nginx is one: a master and workers that accept connections of one socket. The
// workers share sessions and rate limits, so it does not matter which of them gets a request, and
// any of them may be killed at any instruction: the master starts another one.
//
//	GET /visit    counts a visit of the session that the cookie names, or of a new one. With a
//	              header X-Key it also takes from what this key may do in a second; 429 if that
//	              is nothing any more
//	GET /totals   all that was counted, as JSON
//
// An answer is sent after its transaction, so what was answered is counted for good.
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <exception>
#include <netinet/in.h>
#include <new>
#include <optional>
#include <stdexcept>
#include <stm/stm.hpp>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace {

constexpr std::int64_t kLifetime = 3600; // of a session that nobody uses, in seconds
constexpr std::size_t kRegionBytes = std::size_t{256} << 20;

using key_name = std::array<char, 32>;

struct session {
    std::uint64_t visits;
    std::int64_t last; // in seconds
};

// What a key has done in the second that it was last seen in.
struct usage {
    std::int64_t second;
    std::uint32_t requests;
    std::uint64_t admitted; // ever
};

struct creation {
    std::uint64_t session;
    std::int64_t second;
};

struct shared {
    stm::unordered_map<std::uint64_t, session> sessions;
    stm::unordered_map<key_name, usage> keys;
    stm::queue<creation> by_age;
};

// How a request ends.
enum class verdict { counted, limited, full };

struct visit {
    verdict how = verdict::counted;
    std::uint64_t session = 0;
    std::uint64_t visits = 0;
};

// -- What is shared --

// Takes one request from what a key may do in this second; whether there was one.
bool admit(const stm::transaction& tx, shared& s, const key_name& key, std::uint32_t limit,
           std::int64_t now) {
    usage used = s.keys.find(tx, key).value_or(usage{now, 0, 0});
    if (used.second != now)
        used = {now, 0, used.admitted};
    if (used.requests >= limit)
        return false;
    ++used.requests;
    ++used.admitted;
    s.keys.insert_or_assign(tx, key, used);
    return true;
}

// Two old sessions go for each new one, as long as there are any: so there are never many more than
// were used within their lifetime.
void forget_old(const stm::transaction& tx, shared& s, std::int64_t now) {
    for (int count = 0; count < 2; ++count) {
        const auto oldest = s.by_age.front(tx);
        if (!oldest || oldest->second + kLifetime > now)
            return;
        static_cast<void>(s.by_age.pop(tx));
        const auto old = s.sessions.find(tx, oldest->session);
        if (!old)
            continue;
        if (old->last + kLifetime > now)
            s.by_age.push(tx, {oldest->session, old->last});
        else
            s.sessions.erase(tx, oldest->session);
    }
}

visit count_visit(const stm::region& region, shared& s, std::uint64_t id, std::uint64_t fresh,
                  const std::optional<key_name>& key, std::uint32_t limit) {
    const std::int64_t now = std::time(nullptr);
    return stm::atomically(region, [&](stm::transaction& tx) -> visit {
        if (key && !admit(tx, s, *key, limit, now))
            return {verdict::limited, id, 0};
        auto known = s.sessions.find(tx, id);
        if (!known) {
            forget_old(tx, s, now);
            id = fresh;
            known = session{0, now};
            s.by_age.push(tx, {id, now});
        }
        s.sessions.insert_or_assign(tx, id, {known->visits + 1, now});
        return {verdict::counted, id, known->visits + 1};
    });
}

std::string totals(const stm::region& region, shared& s) {
    return stm::read_only(region, [&](stm::read_transaction& tx) {
        std::uint64_t sessions = 0;
        std::uint64_t visits = 0;
        std::uint64_t admitted = 0;
        for (auto [id, one] : s.sessions.in(tx)) {
            ++sessions;
            visits += one.visits;
        }
        for (auto [key, used] : s.keys.in(tx))
            admitted += used.admitted;
        return "{\"sessions\": " + std::to_string(sessions) +
               ", \"visits\": " + std::to_string(visits) +
               ", \"admitted\": " + std::to_string(admitted) + "}\n";
    });
}

// -- A worker --

struct worker {
    stm::region region = stm::region::open("http");
    shared& all = region.root<shared>();
    std::uint32_t limit = 0;
};

std::uint64_t session_of(evhttp_request* request) {
    const char* cookie = evhttp_find_header(evhttp_request_get_input_headers(request), "Cookie");
    std::uint64_t id = 0;
    if (const char* found = cookie == nullptr ? nullptr : std::strstr(cookie, "session="))
        std::from_chars(found + 8, found + std::strlen(found), id, 16);
    return id;
}

std::optional<key_name> key_of(evhttp_request* request) {
    const char* given = evhttp_find_header(evhttp_request_get_input_headers(request), "X-Key");
    if (given == nullptr)
        return std::nullopt;
    key_name key{};
    std::strncpy(key.data(), given, key.size());
    return key;
}

void answer(evhttp_request* request, int code, const char* reason, const std::string& text) {
    evbuffer* body = evbuffer_new();
    if (body != nullptr)
        evbuffer_add(body, text.data(), text.size());
    evhttp_send_reply(request, code, reason, body);
    if (body != nullptr)
        evbuffer_free(body);
}

void serve_visit(evhttp_request* request, worker& w) {
    const std::uint64_t id = session_of(request);
    std::uint64_t fresh = 0;
    while (fresh == 0)
        if (getrandom(&fresh, sizeof fresh, 0) != sizeof fresh)
            throw std::system_error(errno, std::generic_category(), "getrandom");
    visit done;
    try {
        done = count_visit(w.region, w.all, id, fresh, key_of(request), w.limit);
    } catch (const std::bad_alloc&) {
        done.how = verdict::full;
    }
    switch (done.how) {
    case verdict::limited:
        answer(request, 429, "Too Many Requests", "later\n");
        return;
    case verdict::full:
        answer(request, HTTP_SERVUNAVAIL, "Service Unavailable", "there is no room\n");
        return;
    case verdict::counted:
        break;
    }
    if (done.session != id) {
        std::array<char, 64> cookie{};
        std::snprintf(cookie.data(), cookie.size(), "session=%016llx",
                      static_cast<unsigned long long>(done.session));
        evhttp_add_header(evhttp_request_get_output_headers(request), "Set-Cookie", cookie.data());
    }
    answer(request, HTTP_OK, "OK", std::to_string(done.visits) + "\n");
}

void serve(evhttp_request* request, void* context) {
    worker& w = *static_cast<worker*>(context);
    const char* path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
    const std::string_view where = path == nullptr ? "" : path;
    // An exception must not go through libevent, which is C.
    try {
        if (where == "/visit")
            serve_visit(request, w);
        else if (where == "/totals")
            answer(request, HTTP_OK, "OK", totals(w.region, w.all));
        else
            answer(request, HTTP_NOTFOUND, "Not Found", "there is nothing\n");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "server: %s\n", error.what());
        answer(request, HTTP_INTERNAL, "Internal Server Error", "it failed\n");
    }
}

[[noreturn]] void work(int listening, std::uint32_t limit) {
    int status = 1;
    try {
        worker w;
        w.limit = limit;
        event_base* events = event_base_new();
        evhttp* http = events == nullptr ? nullptr : evhttp_new(events);
        if (http == nullptr || evhttp_accept_socket(http, listening) != 0)
            throw std::runtime_error("libevent cannot serve");
        evhttp_set_gencb(http, serve, &w);
        event_base_dispatch(events);
        status = 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "server: %s\n", error.what());
    }
    std::_Exit(status);
}

// -- The master --

int listen_on(std::uint16_t port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int yes = 1;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(fd, SOMAXCONN) != 0)
        throw std::system_error(errno, std::generic_category(), "the port");
    return fd;
}

pid_t start_worker(int listening, std::uint32_t limit, const sigset_t& usual) {
    const pid_t master = getpid();
    const pid_t pid = fork();
    if (pid < 0)
        throw std::system_error(errno, std::generic_category(), "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); // with the master
        if (getppid() != master)
            std::_Exit(1);
        sigprocmask(SIG_SETMASK, &usual, nullptr);
        work(listening, limit);
    }
    return pid;
}

int run(std::uint16_t port, int workers, std::uint32_t limit) {
    // The master makes the region, and has no other part in it.
    static_cast<void>(stm::region::create("http", kRegionBytes).root<shared>());
    const int listening = listen_on(port);
    sigset_t awaited;
    sigset_t usual;
    sigemptyset(&awaited);
    for (const int one : {SIGCHLD, SIGTERM, SIGINT})
        sigaddset(&awaited, one);
    sigprocmask(SIG_BLOCK, &awaited, &usual);
    std::vector<pid_t> all;
    for (int count = 0; count < workers; ++count)
        all.push_back(start_worker(listening, limit, usual));
    std::printf("%d workers at http://127.0.0.1:%d/\n", workers, port);
    std::fflush(stdout);
    for (int signal = 0; sigwait(&awaited, &signal) == 0 && signal == SIGCHLD;) {
        int status = 0;
        for (pid_t dead = 0; (dead = waitpid(-1, &status, WNOHANG)) > 0;) {
            if (WIFEXITED(status))
                sleep(1); // it cannot work: not again at once
            *std::find(all.begin(), all.end(), dead) = start_worker(listening, limit, usual);
        }
    }
    for (const pid_t one : all)
        kill(one, SIGTERM);
    return 0;
}

} // namespace

int main(int argc, char** argv) try {
    if (argc > 4 || (argc > 1 && argv[1][0] == '-')) {
        std::fprintf(stderr, "usage: server [PORT [WORKERS [REQUESTS_OF_A_KEY_PER_SECOND]]]\n");
        return 2;
    }
    const int port = argc > 1 ? std::atoi(argv[1]) : 8080;
    const int workers = argc > 2 ? std::atoi(argv[2]) : 4;
    const int limit = argc > 3 ? std::atoi(argv[3]) : 100;
    return run(static_cast<std::uint16_t>(port), workers, static_cast<std::uint32_t>(limit));
} catch (const std::exception& error) {
    std::fprintf(stderr, "server: %s\n", error.what());
    return 1;
}
