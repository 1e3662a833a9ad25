/* The other side of the benchmarks: an HTTP/1.1 server that does as little as can be done honestly.
 *
 * It reads every byte of every body (into one buffer, where it is forgotten), counts them, and answers. One thread,
 * epoll, no allocation per request. What it prints when it ends (SIGTERM) is what it really received.
 *
 *   sink           listens on 127.0.0.1, on a free port, which is the first line it prints
 *   any method     200, the body "ok"
 *   GET /bytes/N   200, N bytes
 *   GET /count     200, requests and body bytes so far
 *   PUT /stall     reads the head, and no more
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 16384, BUFFER = 1 << 20, EVENTS = 256 };

struct connection {
    int fd;
    int stalled;
    size_t held;         /* bytes of a head */
    long long body_left; /* of the request */
    long long send_left; /* of a large answer */
    char head[HEAD];
};

static char buffer[BUFFER];
static long long requests, received;
static int poller;
static volatile sig_atomic_t ended;

static void end(int signal) {
    (void)signal;
    ended = 1;
}

static void watch(struct connection *c, int operation, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poller, operation, c->fd, &event);
}

static void drop(struct connection *c) {
    close(c->fd);
    free(c);
}

/* Send what is left of a large answer; 0 when it has all gone, 1 when the socket is full, -1 when it broke. */
static int send_more(struct connection *c) {
    while (c->send_left > 0) {
        size_t size = c->send_left < BUFFER ? (size_t)c->send_left : BUFFER;
        ssize_t sent = send(c->fd, buffer, size, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN ? 1 : -1;
        c->send_left -= sent;
    }
    return 0;
}

static int answer(struct connection *c) {
    char text[512], body[128] = "ok";
    long long large = -1;
    requests++;
    if (!strncmp(c->head, "GET /bytes/", 11)) large = atoll(c->head + 11);
    if (!strncmp(c->head, "GET /count", 10)) snprintf(body, sizeof body, "%lld %lld", requests, received);
    long long length = large >= 0 ? large : (long long)strlen(body);
    int size = snprintf(text, sizeof text,
                        "HTTP/1.1 200 OK\r\nServer: sink\r\nContent-Type: application/octet-stream\r\n"
                        "Content-Length: %lld\r\nConnection: keep-alive\r\n\r\n%s",
                        length, large >= 0 ? "" : body);
    if (send(c->fd, text, (size_t)size, MSG_NOSIGNAL) != size) return -1;
    c->send_left = large > 0 ? large : 0;
    int state = send_more(c);
    if (state == 1) watch(c, EPOLL_CTL_MOD, EPOLLOUT);
    return state < 0 ? -1 : 0;
}

/* Take the heads that are whole out of what is held. */
static int parse(struct connection *c) {
    for (;;) {
        char *stop = memmem(c->head, c->held, "\r\n\r\n", 4);
        if (!stop) return c->held == HEAD ? -1 : 0;
        size_t size = (size_t)(stop - c->head) + 4;
        char *line = stop;
        c->body_left = 0;
        *stop = 0;
        if ((line = strcasestr(c->head, "\ncontent-length:"))) c->body_left = atoll(line + 16);
        if (!strncmp(c->head, "PUT /stall", 10)) {
            c->stalled = 1;
            watch(c, EPOLL_CTL_MOD, EPOLLRDHUP);
            return 0;
        }
        size_t rest = c->held - size;
        size_t body = (long long)rest < c->body_left ? rest : (size_t)c->body_left;
        received += (long long)body;
        c->body_left -= (long long)body;
        if (c->body_left == 0 && answer(c) < 0) return -1;
        memmove(c->head, c->head + size + body, rest - body);
        c->held = rest - body;
        if (c->body_left > 0 || c->held == 0) return 0;
    }
}

static int take(struct connection *c) {
    for (;;) {
        int in_head = c->body_left == 0;
        char *where = in_head ? c->head + c->held : buffer;
        size_t room = in_head ? HEAD - c->held : BUFFER;
        if (!in_head && (long long)room > c->body_left) room = (size_t)c->body_left;
        ssize_t got = recv(c->fd, where, room, 0);
        if (got == 0) return -1;
        if (got < 0) return errno == EAGAIN ? 0 : -1;
        if (in_head) {
            c->held += (size_t)got;
            if (parse(c) < 0) return -1;
            if (c->stalled || c->send_left > 0) return 0;
        } else {
            received += got;
            c->body_left -= got;
            if (c->body_left == 0 && answer(c) < 0) return -1;
        }
        if ((size_t)got < room) return 0;
    }
}

static void accept_all(int listener) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void serve(struct connection *c, unsigned events) {
    int state = 0;
    if (events & EPOLLOUT) {
        state = send_more(c);
        if (state == 0) watch(c, EPOLL_CTL_MOD, EPOLLIN);
    } else if (c->stalled) {
        state = -1; /* the only event asked for is the client's end */
    } else {
        state = take(c);
    }
    if (state < 0) drop(c);
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) return perror("sink"), 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    signal(SIGTERM, end);
    poller = epoll_create1(0);
    struct epoll_event first = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &first);
    while (!ended) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr) serve(events[i].data.ptr, events[i].events);
            else accept_all(listener);
    }
    printf("%lld requests, %lld bytes of bodies\n", requests, received);
    return 0;
}
