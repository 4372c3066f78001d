/* A server whose send times are exact and logged: the ruler that load clients are measured with.
 *
 * One thread: epoll, a heap of due times, a spin before each. Every request is answered with a stream of `max_tokens`
 * events: token k is due at arrival + ttft + k * itl. Arrival is the kernel's receive stamp of the request's last
 * bytes; each token's time is CLOCK_MONOTONIC just before its send(). Nothing is written while streams run: the log
 * is in memory until SIGTERM. One line a request: seed, arrival, summed lateness of its sends (ns), token times.
 *
 * usage: server TTFT_US ITL_US LOGFILE     prints its port on standard output
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_FDS 65536
#define BATCH 256
#define CALM_NS 1500000LL /* epoll counts in ms: nearer than this, it is asked without waiting */

typedef int64_t ns_t;

typedef struct {
    long seed;
    ns_t arrival, late;
    int tokens, sent;
    ns_t *at;
} request_t;

typedef struct {
    char *in;
    size_t have, room, need; /* need: bytes of the whole request, once its head is known */
    int is_chat, tells_usage;
    request_t *request; /* being answered */
} conn_t;

typedef struct {
    ns_t due;
    int fd;
    const request_t *request; /* of this, and not of what came over the same descriptor later */
} entry_t;

static conn_t conns[MOST_FDS];
static entry_t *heap;
static size_t heap_size, heap_room;
static request_t **requests;
static size_t request_count, request_room;
static ns_t ttft_ns, itl_ns;
static volatile sig_atomic_t is_over;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void *grown(void *data, size_t bytes) {
    void *out = realloc(data, bytes);
    if (!out) die("memory");
    return out;
}

static ns_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static ns_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static void heap_push(ns_t due, int fd, const request_t *request) {
    if (heap_size == heap_room) heap = grown(heap, (heap_room = heap_room ? 2 * heap_room : 1024) * sizeof *heap);
    size_t at = heap_size++;
    while (at && heap[(at - 1) / 2].due > due) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = (entry_t){due, fd, request};
}

static entry_t heap_pop(void) {
    entry_t first = heap[0], last = heap[--heap_size];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap_size) break;
        if (child + 1 < heap_size && heap[child + 1].due < heap[child].due) child++;
        if (heap[child].due >= last.due) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

static void drop(int fd) {
    conn_t *conn = &conns[fd];
    free(conn->in);
    memset(conn, 0, sizeof *conn);
    close(fd); /* its entry in the heap, if any, finds no request */
}

static long number_behind(const char *text, const char *name, long otherwise) {
    const char *found = strstr(text, name);
    return found ? strtol(found + strlen(name) + strspn(found + strlen(name), " :"), NULL, 10) : otherwise;
}

static void begin(int fd, ns_t arrival) {
    conn_t *conn = &conns[fd];
    conn->in[conn->need] = 0;
    conn->is_chat = strncmp(conn->in, "POST /v1/chat", 13) == 0;
    conn->tells_usage = strstr(conn->in, "continuous_usage_stats") != NULL;
    request_t *one = calloc(1, sizeof *one);
    if (!one) die("memory");
    one->seed = number_behind(conn->in, "\"seed\"", -1);
    one->tokens = (int)number_behind(conn->in, "\"max_tokens\"", 16);
    one->arrival = arrival;
    one->at = grown(NULL, one->tokens * sizeof *one->at);
    if (request_count == request_room)
        requests = grown(requests, (request_room = request_room ? 2 * request_room : 4096) * sizeof *requests);
    requests[request_count++] = conn->request = one;
    conn->have = conn->need = 0;
    heap_push(arrival + ttft_ns, fd, one);
}

static ns_t stamp_of(struct msghdr *message) {
    for (struct cmsghdr *one = CMSG_FIRSTHDR(message); one; one = CMSG_NXTHDR(message, one))
        if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, CMSG_DATA(one), sizeof at);
            ns_t before = now_ns(), real = clock_ns(CLOCK_REALTIME), after = now_ns();
            return at.tv_sec * 1000000000LL + at.tv_nsec - (real - (before + after) / 2);
        }
    return now_ns();
}

static void take(int fd) {
    conn_t *conn = &conns[fd];
    if (conn->room - conn->have < 65536) conn->in = grown(conn->in, (conn->room += 131072) + 1);
    char control[128];
    struct iovec part = {conn->in + conn->have, conn->room - conn->have};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &message, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        drop(fd);
        return;
    }
    ns_t arrival = stamp_of(&message);
    conn->have += got;
    conn->in[conn->have] = 0;
    if (!conn->need) {
        char *end = strstr(conn->in, "\r\n\r\n");
        if (!end) return;
        char *length = strcasestr(conn->in, "\r\ncontent-length:");
        conn->need = end + 4 - conn->in + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
    }
    if (conn->have >= conn->need && !conn->request) begin(fd, arrival);
}

static int event(char *out, const conn_t *conn, int sent, const char *finish, int is_usage) {
    char body[640], choices[256] = "", usage[128] = "";
    const char *text = *finish == '"' ? "" : " word";
    if (!is_usage && conn->is_chat)
        snprintf(choices, sizeof choices, "{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":%s}", text, finish);
    else if (!is_usage)
        snprintf(choices, sizeof choices, "{\"index\":0,\"text\":\"%s\",\"logprobs\":null,\"finish_reason\":%s}", text, finish);
    if (conn->tells_usage || is_usage)
        snprintf(usage, sizeof usage, ",\"usage\":{\"prompt_tokens\":1,\"total_tokens\":%d,\"completion_tokens\":%d}",
                 sent + 1, sent);
    int size = snprintf(body, sizeof body,
                        "data: {\"id\":\"cmpl-%ld\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":[%s]%s}\n\n",
                        conn->request->seed, choices, usage);
    return sprintf(out, "%x\r\n%s\r\n", size, body);
}

static void put(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) die("a client reads too slowly: its socket is full");
        if (sent < 0) return; /* gone: its closing is read later */
        data += sent;
        size -= sent;
    }
}

static void emit(entry_t entry) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    char out[4096];
    conn_t *conn = &conns[entry.fd];
    request_t *one = conn->request;
    if (!one || one != entry.request) return;
    int size = one->sent ? 0 : sprintf(out, "%s", head);
    size += event(out + size, conn, one->sent + 1, "null", 0);
    ns_t now = now_ns();
    while (now < entry.due) now = now_ns();
    one->at[one->sent++] = now;
    one->late += now - entry.due;
    put(entry.fd, out, size);
    if (one->sent < one->tokens) {
        heap_push(one->arrival + ttft_ns + one->sent * itl_ns, entry.fd, one);
        return;
    }
    size = event(out, conn, one->sent, "\"length\"", 0);
    size += event(out + size, conn, one->sent, "null", 1);
    size += sprintf(out + size, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    conn->request = NULL;
    put(entry.fd, out, size);
    if (conn->need && conn->have >= conn->need) begin(entry.fd, now_ns()); /* asked before it was answered */
}

static int listener(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof where;
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on); /* handed on to what it accepts */
    if (fd < 0 || bind(fd, (struct sockaddr *)&where, size) || listen(fd, 8192)) die("listen");
    getsockname(fd, (struct sockaddr *)&where, &size);
    printf("%d\n", ntohs(where.sin_port));
    fflush(stdout);
    return fd;
}

static void accept_all(int poll_fd, int listen_fd) {
    int fd, on = 1;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MOST_FDS) die("too many connections");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
        struct epoll_event wish = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &wish);
    }
}

static void write_log(const char *path) {
    FILE *out = fopen(path, "w");
    if (!out) die(path);
    for (size_t at = 0; at < request_count; at++) {
        request_t *one = requests[at];
        fprintf(out, "%ld %lld %lld", one->seed, (long long)one->arrival, (long long)one->late);
        for (int token = 0; token < one->sent; token++) fprintf(out, " %lld", (long long)one->at[token]);
        fputc('\n', out);
    }
    if (fclose(out)) die(path);
}

static void stop(int sign) { is_over = sign; }

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: server TTFT_US ITL_US LOGFILE\n");
        return 2;
    }
    ttft_ns = atoll(argv[1]) * 1000;
    itl_ns = atoll(argv[2]) * 1000;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int poll_fd = epoll_create1(0), listen_fd = listener();
    struct epoll_event wish = {.events = EPOLLIN, .data.fd = listen_fd}, found[BATCH];
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listen_fd, &wish);
    while (!is_over) {
        ns_t gap = heap_size ? heap[0].due - now_ns() : 100000000LL;
        int count = epoll_wait(poll_fd, found, BATCH, gap > CALM_NS ? (int)((gap - CALM_NS) / 1000000) : 0);
        for (int at = 0; at < count; at++) {
            int fd = found[at].data.fd;
            if (fd == listen_fd)
                accept_all(poll_fd, listen_fd);
            else
                take(fd);
        }
        for (int left = BATCH; left && heap_size && heap[0].due <= now_ns() + 20000; left--) emit(heap_pop());
    }
    write_log(argv[3]);
    return 0;
}
