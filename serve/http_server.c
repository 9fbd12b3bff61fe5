/* SPDX-License-Identifier: MIT */
/*
 * One round: poll, let each connection that is ready or late take its step, then take new connections. Programs that
 * close all descriptors at their start close the listener too; it is then opened again.
 */
#include "serve/http_server.h"

#include <errno.h>
#include <string.h>

#include "alloc/background.h"
#include "alloc/own_thread.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/os.h"

#define ACCEPTS_PER_ROUND 16
#define TICK_NANOS HA_SECOND /* to see that the listener is still ours, and that the program has not ended */
#define RETRY_NANOS (HA_SECOND / 10) /* without descriptors */

struct ha_server {
  struct ha_http_guard guard;
  struct ha_address address;
  struct ha_socket listener;
  uint64_t accept_after; /* monotonic nanoseconds */
  bool has_complained;
  struct ha_connection connections[HA_CONNECTIONS_MAX];
};

static size_t mapped_size(void) {
  return ha_align_up(sizeof(struct ha_server), HA_OS_PAGE);
}

struct ha_server *ha_server_new(const struct ha_address *address, struct ha_socket listener) {
  struct ha_server *server = ha_os_map(mapped_size());
  if (server == NULL) {
    return NULL;
  }
  ha_os_keep_from_children(server, mapped_size());
  server->guard.token = ha_config.http_token;
  server->guard.is_unix_socket = address->kind == HA_ADDRESS_UNIX;
  server->address = *address;
  server->listener = listener;
  return server;
}

void ha_server_discard(struct ha_server *server) {
  ha_os_unmap(server, mapped_size());
}

/* A free place; else that of the connection that has been idle for longest; NULL: all are busy. */
static struct ha_connection *find_place(struct ha_server *server) {
  struct ha_connection *oldest = NULL;
  for (int i = 0; i < HA_CONNECTIONS_MAX; i++) {
    struct ha_connection *connection = &server->connections[i];
    if (connection->state == HA_CONNECTION_FREE) {
      return connection;
    }
    if (ha_connection_is_idle(connection) && (oldest == NULL || connection->since < oldest->since)) {
      oldest = connection;
    }
  }
  return oldest;
}

static void accept_some(struct ha_server *server, uint64_t now) {
  struct ha_connection *place;
  for (int i = 0; i < ACCEPTS_PER_ROUND && (place = find_place(server)) != NULL; i++) {
    struct ha_socket socket;
    int error = ha_socket_accept(&server->listener, &socket);
    if (error != 0) {
      /* Without descriptors or memory; a client that is there no more is followed by others. */
      bool is_lasting = error != -EAGAIN && error != -ECONNABORTED;
      server->accept_after = is_lasting ? now + RETRY_NANOS : 0;
      return;
    }
    if (place->state != HA_CONNECTION_FREE) {
      ha_connection_close(place);
    }
    ha_connection_open(place, socket, now);
  }
}

/* The program has closed it, or shut it down. */
static void reopen_listener(struct ha_server *server, uint64_t now) {
  char text[HA_ADDRESS_TEXT_MAX];
  ha_socket_close(&server->listener);
  int error = ha_socket_listen(&server->address, &server->listener);
  if (error != 0 && !server->has_complained) {
    ha_address_format(&server->address, text, sizeof text);
    ha_log("%s: the program has closed the admin port, and it could not be opened again: %s", text,
           strerrordesc_np(-error));
  }
  server->has_complained = error != 0;
  server->accept_after = error != 0 ? now + HA_SECOND : 0;
}

/* What to wait for: one for each connection in use, in their order, and the listener last. */
struct waits {
  struct pollfd fds[HA_CONNECTIONS_MAX + 1];
  unsigned count;
  bool has_listener;
  uint64_t until;
};

static void collect_waits(struct ha_server *server, uint64_t now, struct waits *waits) {
  waits->count = 0;
  waits->until = now + TICK_NANOS;
  for (int i = 0; i < HA_CONNECTIONS_MAX; i++) {
    const struct ha_connection *connection = &server->connections[i];
    if (connection->state != HA_CONNECTION_FREE) {
      waits->fds[waits->count++] =
          (struct pollfd){connection->socket.fd, ha_connection_events(connection), 0};
      waits->until = connection->deadline < waits->until ? connection->deadline : waits->until;
    }
  }
  waits->has_listener = server->listener.fd >= 0 && now >= server->accept_after && find_place(server) != NULL;
  if (waits->has_listener) {
    waits->fds[waits->count++] = (struct pollfd){server->listener.fd, POLLIN, 0};
  } else if (server->accept_after > now && server->accept_after < waits->until) {
    waits->until = server->accept_after;
  }
}

static void step_connections(struct ha_server *server, const struct waits *waits, uint64_t now) {
  unsigned next = 0;
  for (int i = 0; i < HA_CONNECTIONS_MAX; i++) {
    struct ha_connection *connection = &server->connections[i];
    if (connection->state == HA_CONNECTION_FREE) {
      continue;
    }
    short events = waits->fds[next++].revents;
    bool is_late = now >= connection->deadline;
    if (events != 0 || is_late) {
      ha_connection_step(connection, &server->guard, is_late ? 0 : events, now);
    }
  }
}

static void serve_round(struct ha_server *server) {
  struct waits waits;
  uint64_t now = ha_clock_monotonic();
  collect_waits(server, now, &waits);
  int ready = ha_socket_poll(waits.fds, waits.count, waits.until > now ? waits.until - now : 0);
  if (ready == -EINTR) {
    return;
  }
  if (ready < 0) {
    /* The program has lowered its limit on descriptors below what there is to wait for. */
    ha_socket_poll(NULL, 0, RETRY_NANOS);
    return;
  }
  now = ha_clock_monotonic();
  step_connections(server, &waits, now);
  short events = waits.has_listener ? waits.fds[waits.count - 1].revents : 0;
  bool is_lost = (events & ~POLLIN) != 0 || !ha_socket_is_ours(&server->listener);
  if (is_lost && now >= server->accept_after) {
    reopen_listener(server, now);
  } else if (events != 0 && !is_lost) {
    accept_some(server, now);
  }
}

void ha_server_run(struct ha_server *server) {
  for (;;) {
    serve_round(server);
    if (!ha_background_runs()) {
      ha_own_thread_exit_if_alone();
    }
  }
}
