/* SPDX-License-Identifier: MIT */
/*
 * A connection of the admin port: from its first byte to its last, one request after the other.
 *
 *   HEAD -> BODY -> ANSWER (-> WAIT) -> SEND -> HEAD ...   or -> DRAIN -> gone
 *
 * Each state has a time by which it is left. Every call does one small thing and never waits. A connection that is
 * closed after an error still takes what the other side sends for a moment, so that it can read the answer.
 */
#ifndef HA_SERVE_HTTP_CONNECTION_H
#define HA_SERVE_HTTP_CONNECTION_H

#include "serve/http_answer.h"
#include "serve/http_guard.h"
#include "serve/http_socket.h"

#define HA_HEAD_TEXT_MAX 1024

enum ha_connection_state {
  HA_CONNECTION_FREE,
  HA_CONNECTION_HEAD,  /* reading a head */
  HA_CONNECTION_BODY,  /* reading a body */
  HA_CONNECTION_WAIT,  /* for the time to pass that the answer needs */
  HA_CONNECTION_SEND,  /* sending the answer */
  HA_CONNECTION_DRAIN, /* dropping what still comes */
};

struct ha_connection {
  enum ha_connection_state state;
  struct ha_socket socket;
  uint64_t since;    /* monotonic nanoseconds: when the state began */
  uint64_t deadline; /* the same: when it ends */
  bool has_served;   /* a request before: idle, it may stay longer */
  bool keeps_alive;
  size_t received; /* bytes in `input`; while draining, bytes dropped */
  size_t sent;     /* of the head of the answer and its body */
  size_t head_size;
  struct ha_http_head head;
  struct ha_body body; /* of the request */
  struct ha_answer answer;
  char head_text[HA_HEAD_TEXT_MAX]; /* of the answer */
  char input[HA_HTTP_HEAD_MAX];
};

void ha_connection_open(struct ha_connection *connection, struct ha_socket socket, uint64_t now);

/* Which events to wait for. */
short ha_connection_events(const struct ha_connection *connection);

/* Something has happened at the socket (events as from poll), or the deadline has come (events 0). */
void ha_connection_step(struct ha_connection *connection, const struct ha_http_guard *guard, short events,
                        uint64_t now);

/* Whether nothing has been asked yet, so that it may be closed to make room. */
bool ha_connection_is_idle(const struct ha_connection *connection);

void ha_connection_close(struct ha_connection *connection);

#endif
