/* SPDX-License-Identifier: MIT */
/*
 * The admin port's descriptors. All calls go to the kernel directly, since programs may replace libc's.
 *
 * Descriptors are kept above HA_SOCKET_FD_MIN, out of the way of the numbers that programs expect to get. A program may
 * all the same close what it did not open, and get the number again: so a socket carries the inode it had, and is used
 * only while that is still the one behind the number.
 *
 * All that are open are in one table, under HA_RANK_HTTP, from which a forked child closes them.
 */
#ifndef HA_SERVE_HTTP_SOCKET_H
#define HA_SERVE_HTTP_SOCKET_H

#include <poll.h>

#include "base/address_text.h"

#define HA_SOCKETS_MAX 66 /* a listener, connections, and one to be refused */
#define HA_SOCKET_FD_MIN 100

struct ha_socket {
  int fd; /* -1: none */
  uint64_t inode;
};

/* Listens at the address; 0 and the socket, with the port that was given in *address; or -errno. A Unix socket appears
 * when it listens; one that nobody listens at any more is replaced if it is the user's. */
int ha_socket_listen(struct ha_address *address, struct ha_socket *ret_socket);

/* Removes the name of a Unix socket, if it is still that of this one. */
void ha_socket_unlink(const struct ha_address *address);

/* A connection that waits, or -errno: -EAGAIN for none. */
int ha_socket_accept(const struct ha_socket *listener, struct ha_socket *ret_socket);

/* Bytes, 0 at the end, or -errno. Never a signal. */
long ha_socket_receive(const struct ha_socket *socket, void *out, size_t size);
long ha_socket_send(const struct ha_socket *socket, const void *data, size_t size);

/* No more will be sent. */
void ha_socket_end(const struct ha_socket *socket);

/* Whether the number is still this socket. */
bool ha_socket_is_ours(const struct ha_socket *socket);

/* Closes it, if it is still ours. */
void ha_socket_close(struct ha_socket *socket);

/* Waits until one is ready. As poll(2), with -errno. */
int ha_socket_poll(struct pollfd *fds, unsigned count, uint64_t nanos);

/* Closes all in a forked child. */
void ha_socket_after_fork_in_child(void);

#endif
