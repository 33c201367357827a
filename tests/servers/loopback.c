/* Preloaded into servers whose listen address cannot be configured: a TCP socket that would listen on
 * all interfaces listens on 127.0.0.1 only. Built by `cargo xtask test-servers install`. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

typedef int (*bind_function)(int, const struct sockaddr *, socklen_t);

static int bind_v4(bind_function next, int socket, const struct sockaddr *address) {
    struct sockaddr_in loopback;
    memcpy(&loopback, address, sizeof loopback);
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return next(socket, (struct sockaddr *)&loopback, sizeof loopback);
}

/* The socket keeps an IPv6 address, which the caller queries later; it is the mapped form of
 * 127.0.0.1, so that IPv4 clients reach it. */
static int bind_v6(bind_function next, int socket, const struct sockaddr *address) {
    struct sockaddr_in6 loopback;
    int v6_only = 0;
    memcpy(&loopback, address, sizeof loopback);
    setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only);
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &loopback.sin6_addr);
    return next(socket, (struct sockaddr *)&loopback, sizeof loopback);
}

int bind(int socket, const struct sockaddr *address, socklen_t length) {
    static bind_function next;
    if (!next) {
        next = (bind_function)dlsym(RTLD_NEXT, "bind");
    }
    if (address && address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in) &&
        ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(INADDR_ANY)) {
        return bind_v4(next, socket, address);
    }
    if (address && address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6) &&
        IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr)) {
        return bind_v6(next, socket, address);
    }
    return next(socket, address, length);
}
