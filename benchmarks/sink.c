/* The other side of the benchmarks: an HTTP/1.1 server that does as little as can be done honestly.
 *
 * It reads every byte of every body (into one buffer, where it is forgotten), counts them, and answers. One thread,
 * epoll, no allocation per request. Bodies come with a length or chunked; a client that expects 100 is told 100.
 *
 * Tried and found worse, for it or for its clients: throwing bodies away in the kernel (MSG_TRUNC; the client has more
 * to do for shorter turns), answering by sendfile, smaller buffers.
 *
 *   cc -O2 -o sink sink.c                              plain TCP
 *   cc -O2 -DWITH_TLS -o sink sink.c -lssl -lcrypto    both
 *   sink [CERTIFICATE.pem]    listens on 127.0.0.1, on a free port, which is the first line it prints; with TLS if
 *                             it is given a certificate with its key. At its end (SIGTERM) it prints its counts.
 *
 *   any method     200, the body "ok"
 *   GET /bytes/N   200, N bytes
 *   GET /count     200, JSON: requests, bytes of bodies received, bytes of large answers sent, requests stalled; it does
 *                  not count itself
 *   GET /hold/N    answered when N of these are waiting, all at once
 *   * /stall       the head is read, and no more
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

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
static SSL_CTX *tls_context;
#else
typedef struct no_tls SSL;
#endif

enum { HEAD = 16384, BUFFER = 1 << 20, EVENTS = 256, SIZE_LINE = 32 };

/* Where in a chunked body we are. */
enum chunk_state { NOT_CHUNKED, IN_SIZE, IN_DATA, BEHIND_DATA, IN_TRAILER };

struct connection {
    int fd;
    SSL *tls;
    int stalled;
    int in_body;
    size_t held;         /* bytes of a head */
    long long body_left; /* of the request, or of the chunk */
    enum chunk_state chunk;
    size_t line_held;    /* bytes of a chunk's size line, or of a line of the trailer */
    char line[SIZE_LINE];
    long long send_left; /* of a large answer */
    struct connection *next_on_hold;
    char head[HEAD + 1];
};

static char buffer[BUFFER];
static long long requests, received, sent_large, stalled;
static struct connection *on_hold;
static int held_count;
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

static void leave_hold(struct connection *c) {
    for (struct connection **at = &on_hold; *at; at = &(*at)->next_on_hold)
        if (*at == c) {
            *at = c->next_on_hold;
            held_count--;
            return;
        }
}

static void drop(struct connection *c) {
    leave_hold(c);
#ifdef WITH_TLS
    if (c->tls) SSL_free(c->tls);
#endif
    close(c->fd);
    free(c);
}

/* ---- Bytes: like recv and send, over TLS or not; -1 with EAGAIN when it would block, 0 at the end. */

#ifdef WITH_TLS
static ssize_t through_tls(SSL *tls, int done) {
    if (done > 0) return done;
    int why = SSL_get_error(tls, done);
    ERR_clear_error();
    if (why == SSL_ERROR_ZERO_RETURN) return 0;
    errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EIO;
    return -1;
}
#endif

static ssize_t get(struct connection *c, void *where, size_t room) {
#ifdef WITH_TLS
    if (c->tls) return through_tls(c->tls, SSL_read(c->tls, where, (int)room));
#endif
    return recv(c->fd, where, room, 0);
}

static ssize_t put(struct connection *c, const void *from, size_t size) {
#ifdef WITH_TLS
    if (c->tls) return through_tls(c->tls, SSL_write(c->tls, from, (int)size));
#endif
    return send(c->fd, from, size, MSG_NOSIGNAL);
}

/* ---- Answers */

/* Send what is left of a large answer; 0 when it has all gone, 1 when the socket is full, -1 when it broke. */
static int send_more(struct connection *c) {
    while (c->send_left > 0) {
        size_t size = c->send_left < BUFFER ? (size_t)c->send_left : BUFFER;
        ssize_t sent = put(c, buffer, size);
        if (sent <= 0) return sent < 0 && errno == EAGAIN ? 1 : -1;
        c->send_left -= sent;
        sent_large += sent;
    }
    return 0;
}

static int answer(struct connection *c, long long large, const char *body) {
    char text[512];
    long long length = large >= 0 ? large : (long long)strlen(body);
    int size = snprintf(text, sizeof text,
                        "HTTP/1.1 200 OK\r\nServer: sink\r\nContent-Type: application/octet-stream\r\n"
                        "Content-Length: %lld\r\nConnection: keep-alive\r\n\r\n%s",
                        length, large >= 0 ? "" : body);
    if (put(c, text, (size_t)size) != size) return -1;
    c->send_left = large > 0 ? large : 0;
    int state = send_more(c);
    if (state == 1) watch(c, EPOLL_CTL_MOD, EPOLLOUT);
    return state < 0 ? -1 : 0;
}

/* Let go of all that wait, if they are enough; the last to come among them. */
static int hold(struct connection *c, int enough) {
    c->next_on_hold = on_hold;
    on_hold = c;
    if (++held_count < enough) return 0;
    int state = 0;
    struct connection *next;
    for (struct connection *each = on_hold; each; each = next) {
        next = each->next_on_hold;
        each->next_on_hold = NULL;
        int its_state = answer(each, -1, "ok");
        if (each == c) state = its_state;
        else if (its_state < 0) shutdown(each->fd, SHUT_RDWR);
    }
    on_hold = NULL;
    held_count = 0;
    return state;
}

/* A request has come whole. */
static int complete(struct connection *c) {
    char body[160];
    c->in_body = 0;
    if (!strncmp(c->head, "GET /count", 10)) {
        snprintf(body, sizeof body, "{\"requests\": %lld, \"received\": %lld, \"sent\": %lld, \"stalled\": %lld}", requests,
                 received, sent_large, stalled);
        return answer(c, -1, body);
    }
    requests++;
    if (!strncmp(c->head, "GET /bytes/", 11)) return answer(c, atoll(c->head + 11), NULL);
    if (!strncmp(c->head, "GET /hold/", 10)) return hold(c, atoi(c->head + 10));
    return answer(c, -1, "ok");
}

/* ---- Requests */

static int size_line(struct connection *c) {
    char *stop;
    c->line[c->line_held] = 0;
    c->line_held = 0;
    c->body_left = strtoll(c->line, &stop, 16);
    if (stop == c->line || c->body_left < 0) return -1;
    c->chunk = c->body_left ? IN_DATA : IN_TRAILER;
    return 0;
}

/* Take what there is of a body; how many bytes of it were the body's, or -1. Its end clears in_body, by complete(). */
static ssize_t take_body(struct connection *c, const char *from, size_t size) {
    size_t at = 0;
    while (at < size && c->in_body) {
        if (c->chunk == NOT_CHUNKED || c->chunk == IN_DATA) {
            size_t part = (long long)(size - at) < c->body_left ? size - at : (size_t)c->body_left;
            received += (long long)part;
            c->body_left -= (long long)part;
            at += part;
            if (c->body_left > 0) break;
            if (c->chunk == IN_DATA) c->chunk = BEHIND_DATA;
            else if (complete(c) < 0) return -1;
            continue;
        }
        char byte = from[at++];
        if (byte == '\r') continue;
        if (byte != '\n') {
            if (c->chunk == BEHIND_DATA || c->line_held == SIZE_LINE - 1) return -1;
            c->line[c->line_held++] = byte;
        } else if (c->chunk == BEHIND_DATA) {
            c->chunk = IN_SIZE;
        } else if (c->chunk == IN_SIZE) {
            if (size_line(c) < 0) return -1;
        } else if (c->line_held) {
            c->line_held = 0; /* a trailer's line */
        } else if (complete(c) < 0) {
            return -1;
        }
    }
    return (ssize_t)at;
}

static int is_stall(const char *head) {
    const char *path = strchr(head, ' ');
    return path && !strncmp(path, " /stall", 7);
}

/* Begin the request whose head is in c->head, up to a NUL. */
static int begin(struct connection *c) {
    const char *field;
    c->body_left = 0;
    c->chunk = NOT_CHUNKED;
    if (is_stall(c->head)) {
        stalled++;
        c->stalled = 1;
        watch(c, EPOLL_CTL_MOD, EPOLLRDHUP);
        return 0;
    }
    if ((field = strcasestr(c->head, "\ncontent-length:"))) c->body_left = atoll(field + 16);
    else if (strcasestr(c->head, "\ntransfer-encoding: chunked")) c->chunk = IN_SIZE;
    c->in_body = c->body_left > 0 || c->chunk == IN_SIZE;
    if (!c->in_body) return complete(c);
    if (strcasestr(c->head, "\nexpect: 100-continue") && put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25) != 25) return -1;
    return 0;
}

/* Take the heads that are whole out of what is held, with what is there of their bodies. */
static int parse(struct connection *c) {
    while (c->held > 0) {
        char *stop = memmem(c->head, c->held, "\r\n\r\n", 4);
        if (!stop) return c->held == HEAD ? -1 : 0;
        size_t size = (size_t)(stop - c->head) + 4;
        *stop = 0;
        if (begin(c) < 0) return -1;
        if (c->stalled) return 0;
        size_t rest = c->held - size;
        ssize_t body = c->in_body && rest ? take_body(c, c->head + size, rest) : 0;
        if (body < 0) return -1;
        memmove(c->head, c->head + size + body, rest - (size_t)body);
        c->held = rest - (size_t)body;
        if (c->in_body) return 0;
    }
    return 0;
}

/* What there is of a head, and of what may follow it. */
static ssize_t take_head(struct connection *c, size_t *room) {
    *room = HEAD - c->held;
    ssize_t got = get(c, c->head + c->held, *room);
    if (got <= 0) return got;
    c->held += (size_t)got;
    return parse(c) < 0 ? 0 : got;
}

/* What there is of a body whose length is known, never more: what follows belongs to a head. */
static ssize_t take_plain(struct connection *c, size_t *room) {
    *room = c->body_left < BUFFER ? (size_t)c->body_left : BUFFER;
    ssize_t got = get(c, buffer, *room);
    if (got <= 0) return got;
    received += got;
    c->body_left -= got;
    return c->body_left == 0 && complete(c) < 0 ? 0 : got;
}

/* What there is of a chunked body, behind which nobody pipelines here. */
static ssize_t take_chunked(struct connection *c, size_t *room) {
    *room = BUFFER;
    ssize_t got = get(c, buffer, *room);
    return got <= 0 || take_body(c, buffer, (size_t)got) == got ? got : 0;
}

/* Take what there is; -1 when the connection has ended or is of no more use. */
static int take(struct connection *c) {
    for (;;) {
        size_t room;
        ssize_t got = !c->in_body                ? take_head(c, &room)
                      : c->chunk == NOT_CHUNKED ? take_plain(c, &room)
                                                : take_chunked(c, &room);
        if (got == 0) return -1;
        if (got < 0) return errno == EAGAIN ? 0 : -1;
        if (c->stalled || c->send_left > 0) return 0;
        if (!c->tls && (size_t)got < room) return 0; /* TLS may hold more that no event would tell of */
    }
}

static void accept_all(int listener) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
#ifdef WITH_TLS
        if (tls_context) {
            c->tls = SSL_new(tls_context);
            SSL_set_fd(c->tls, fd);
            SSL_set_accept_state(c->tls);
        }
#endif
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

static int use_tls(const char *certificate) {
#ifdef WITH_TLS
    tls_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return SSL_CTX_use_certificate_chain_file(tls_context, certificate) == 1 &&
           SSL_CTX_use_PrivateKey_file(tls_context, certificate, SSL_FILETYPE_PEM) == 1;
#else
    (void)certificate;
    return 0;
#endif
}

int main(int count, char **arguments) {
    if (count > 1 && !use_tls(arguments[1])) return fprintf(stderr, "sink: no TLS with %s\n", arguments[1]), 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) return perror("sink"), 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(0);
    struct epoll_event first = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &first);
    while (!ended) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++)
            if (events[i].data.ptr) serve(events[i].data.ptr, events[i].events);
            else accept_all(listener);
    }
    printf("%lld requests, %lld bytes of bodies\n", requests, received);
    return 0;
}
