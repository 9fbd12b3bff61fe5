/* SPDX-License-Identifier: MIT */
/*
 * The admin port's loop: one thread, one listener, at most HA_CONNECTIONS_MAX connections, and poll.
 *
 * Requests are answered one after the other; those that wait for seconds= do not hold the others up, an encoding does
 * for its milliseconds. When all places are taken, the connection that has been idle for longest makes room, so that
 * connections which ask for nothing keep nobody out. Memory: the state, 10 KiB for each connection that is used, and
 * the bodies of answers (http_body.h); none of it of the program's heap.
 */
#ifndef HA_SERVE_HTTP_SERVER_H
#define HA_SERVE_HTTP_SERVER_H

#include "serve/http_connection.h"

#define HA_CONNECTIONS_MAX 64

struct ha_server;

/* A server that will take connections of the listener at the address. NULL without memory. */
struct ha_server *ha_server_new(const struct ha_address *address, struct ha_socket listener);
void ha_server_discard(struct ha_server *server);

/* Serves for ever. */
_Noreturn void ha_server_run(struct ha_server *server);

#endif
