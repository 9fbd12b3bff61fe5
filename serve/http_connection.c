/* SPDX-License-Identifier: MIT */
/*
 * The states one by one. A slow client has an absolute time for its request, and for the answer one that grows with the
 * answer's size.
 */
#include "serve/http_connection.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/os.h"
#include "serve/http_routes.h"
#include "serve/http_status.h"

#define HEAD_NANOS (5 * HA_SECOND)
#define BODY_NANOS (10 * HA_SECOND)
#define IDLE_NANOS (75 * HA_SECOND) /* between requests; Prometheus asks once a minute at least */
#define SEND_NANOS (10 * HA_SECOND)
#define SEND_BYTES_PER_SECOND ((size_t)128 * 1024)
#define DRAIN_NANOS HA_SECOND
#define DRAIN_PART 4096
#define DRAIN_BYTES_MAX ((size_t)256 * 1024)
/* All bodies together. */
#define BODIES_MAX ((size_t)64 * 1024 * 1024)

static void enter(struct ha_connection *connection, enum ha_connection_state state, uint64_t now,
                  uint64_t nanos) {
  connection->state = state;
  connection->since = now;
  connection->deadline = now + nanos;
}

void ha_connection_open(struct ha_connection *connection, struct ha_socket socket, uint64_t now) {
  memset(connection, 0, offsetof(struct ha_connection, head_text));
  connection->socket = socket;
  enter(connection, HA_CONNECTION_HEAD, now, HEAD_NANOS);
}

void ha_connection_close(struct ha_connection *connection) {
  ha_answer_discard(&connection->answer);
  ha_body_discard(&connection->body);
  ha_socket_close(&connection->socket);
  connection->state = HA_CONNECTION_FREE;
}

bool ha_connection_is_idle(const struct ha_connection *connection) {
  return connection->state == HA_CONNECTION_HEAD || connection->state == HA_CONNECTION_DRAIN;
}

short ha_connection_events(const struct ha_connection *connection) {
  switch (connection->state) {
  case HA_CONNECTION_SEND:
    return POLLOUT;
  case HA_CONNECTION_WAIT:
    return POLLRDHUP; /* as in Go, a client that closes its side has gone */
  default:
    return POLLIN;
  }
}

/* The head of an answer, put together field by field. What does not fit is left out; all of ours do. */
struct head_text {
  char *text;
  size_t length;
};

static void grow(struct head_text *head, size_t wanted) {
  size_t room = HA_HEAD_TEXT_MAX - head->length;
  head->length += wanted < room ? wanted : room - 1;
}

static int put_field(void *arg, const char *name, const char *value) {
  struct head_text *head = arg;
  grow(head,
       ha_format(head->text + head->length, HA_HEAD_TEXT_MAX - head->length, "%s: %s\r\n", name, value));
  return 0;
}

static void begin_sending(struct ha_connection *connection, uint64_t now) {
  struct ha_answer *answer = &connection->answer;
  if (answer->body.has_failed || ha_body_total() > BODIES_MAX) {
    ha_answer_line(answer, HA_STATUS_UNAVAILABLE, "no memory for the answer");
  }
  struct head_text head = {connection->head_text, 0};
  grow(&head,
       ha_format(head.text, HA_HEAD_TEXT_MAX, "HTTP/1.1 %d %s\r\nContent-Length: %lu\r\nConnection: %s\r\n",
                 answer->status, ha_http_reason(answer->status), answer->body.size,
                 connection->keeps_alive ? "keep-alive" : "close"));
  ha_answer_fields(answer, put_field, &head);
  grow(&head, ha_format(head.text + head.length, HA_HEAD_TEXT_MAX - head.length, "\r\n"));
  connection->head_size = head.length;
  connection->sent = 0;
  if (connection->head.request.method == HA_HTTP_HEAD) {
    ha_body_discard(&answer->body);
  }
  size_t size = head.length + answer->body.size;
  enter(connection, HA_CONNECTION_SEND, now, SEND_NANOS + size / SEND_BYTES_PER_SECOND * HA_SECOND);
}

/* The request is refused, and what follows it cannot be told apart. */
static void refuse(struct ha_connection *connection, int status, const char *reason, uint64_t now) {
  connection->keeps_alive = false;
  const struct ha_http_request *request = &connection->head.request;
  if (status == HA_STATUS_UNAUTHORIZED && ha_slice_equals(request->path, "/")) {
    ha_route_front_without_token(&connection->answer, request);
  } else {
    ha_answer_line(&connection->answer, status, reason);
  }
  begin_sending(connection, now);
}

static void begin_answer(struct ha_connection *connection, const struct ha_http_guard *guard, uint64_t now) {
  const char *reason;
  struct ha_http_head *head = &connection->head;
  int status = ha_http_admit(guard, head, &reason);
  connection->keeps_alive = head->keeps_alive;
  if (status != 0) {
    refuse(connection, status, reason, now);
    return;
  }
  head->request.body = (struct ha_slice){connection->body.data, connection->body.size};
  ha_answer_begin(&connection->answer, &head->request);
  if (connection->answer.wait_nanos != 0) {
    enter(connection, HA_CONNECTION_WAIT, now, connection->answer.wait_nanos);
  } else {
    begin_sending(connection, now);
  }
}

/* Takes from the input what belongs to the body. */
static void begin_body(struct ha_connection *connection, const struct ha_http_guard *guard, uint64_t now) {
  struct ha_http_head *head = &connection->head;
  const char *reason;
  int status = ha_http_admit(guard, head, &reason); /* before memory is spent on it */
  if (status != 0) {
    refuse(connection, status, reason, now);
    return;
  }
  if (ha_body_total() > BODIES_MAX || !ha_body_reserve(&connection->body, head->body_size)) {
    refuse(connection, HA_STATUS_UNAVAILABLE, "no memory for the request", now);
    return;
  }
  if (head->expects_continue) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    ha_socket_send(&connection->socket, go_on, sizeof go_on - 1);
  }
  enter(connection, HA_CONNECTION_BODY, now, BODY_NANOS);
}

/* What is in the input behind the head: the body so far. False: there is more to come. */
static bool take_body(struct ha_connection *connection) {
  struct ha_http_head *head = &connection->head;
  size_t there = connection->received - head->size;
  size_t missing = head->body_size - connection->body.size;
  size_t taken = there < missing ? there : missing;
  ha_body_append(&connection->body, connection->input + head->size, taken);
  memmove(connection->input + head->size, connection->input + head->size + taken, there - taken);
  connection->received -= taken;
  return taken == missing;
}

/* The input may hold a whole request, or more than one. */
static void parse_input(struct ha_connection *connection, const struct ha_http_guard *guard, uint64_t now) {
  int status = ha_http_parse(connection->input, connection->received, &connection->head);
  if (status == HA_HTTP_MORE) {
    return;
  }
  if (status != 0) {
    refuse(connection, status, ha_http_reason(status), now);
    return;
  }
  if (connection->head.body_size == 0) {
    begin_answer(connection, guard, now);
    return;
  }
  begin_body(connection, guard, now);
  if (connection->state == HA_CONNECTION_BODY && take_body(connection)) {
    begin_answer(connection, guard, now);
  }
}

/* False: the other side has gone, or nothing more is there. */
static bool receive(struct ha_connection *connection) {
  size_t room = sizeof connection->input - connection->received;
  long count = ha_socket_receive(&connection->socket, connection->input + connection->received, room);
  if (count == -EAGAIN || count == -EINTR) {
    return false;
  }
  if (count <= 0) {
    ha_connection_close(connection);
    return false;
  }
  connection->received += (size_t)count;
  return true;
}

static void read_head(struct ha_connection *connection, const struct ha_http_guard *guard, uint64_t now) {
  bool is_first = connection->received == 0;
  if (!receive(connection)) {
    return;
  }
  if (is_first && connection->has_served) {
    connection->deadline = now + HEAD_NANOS;
  }
  parse_input(connection, guard, now);
}

/* Straight into the body: the input holds nothing of it any more. */
static void read_body(struct ha_connection *connection, const struct ha_http_guard *guard, uint64_t now) {
  struct ha_body *body = &connection->body;
  size_t missing = connection->head.body_size - body->size;
  long count = ha_socket_receive(&connection->socket, body->data + body->size, missing);
  if (count == -EAGAIN || count == -EINTR) {
    return;
  }
  if (count <= 0) {
    ha_connection_close(connection);
    return;
  }
  body->size += (size_t)count;
  if ((size_t)count == missing) {
    begin_answer(connection, guard, now);
  }
}

/* The next request on the connection, of which a part may be in the input. */
static void begin_next(struct ha_connection *connection, const struct ha_http_guard *guard, uint64_t now) {
  size_t size = connection->head.size;
  memmove(connection->input, connection->input + size, connection->received - size);
  connection->received -= size;
  ha_answer_discard(&connection->answer);
  ha_body_discard(&connection->body);
  connection->has_served = true;
  bool is_begun = connection->received > 0;
  enter(connection, HA_CONNECTION_HEAD, now, is_begun ? HEAD_NANOS : IDLE_NANOS);
  if (is_begun) {
    parse_input(connection, guard, now);
  }
}

static void end_sending(struct ha_connection *connection, const struct ha_http_guard *guard, uint64_t now) {
  if (connection->keeps_alive) {
    begin_next(connection, guard, now);
    return;
  }
  ha_answer_discard(&connection->answer);
  ha_body_discard(&connection->body);
  ha_socket_end(&connection->socket);
  connection->received = 0;
  enter(connection, HA_CONNECTION_DRAIN, now, DRAIN_NANOS);
}

static void send_some(struct ha_connection *connection, const struct ha_http_guard *guard, uint64_t now) {
  const struct ha_body *body = &connection->answer.body;
  size_t size = connection->head_size + body->size;
  bool is_head = connection->sent < connection->head_size;
  const char *data = is_head ? connection->head_text + connection->sent
                             : body->data + (connection->sent - connection->head_size);
  size_t left = is_head ? connection->head_size - connection->sent : size - connection->sent;
  long count = left > 0 ? ha_socket_send(&connection->socket, data, left) : 0;
  if (count == -EAGAIN || count == -EINTR) {
    return;
  }
  if (count < 0) {
    ha_connection_close(connection);
    return;
  }
  connection->sent += (size_t)count;
  if (connection->sent == size) {
    end_sending(connection, guard, now);
  }
}

static void drain(struct ha_connection *connection) {
  char part[DRAIN_PART];
  long count = ha_socket_receive(&connection->socket, part, sizeof part);
  connection->received += count > 0 ? (size_t)count : 0;
  bool is_over = count <= 0 && count != -EAGAIN && count != -EINTR;
  if (is_over || connection->received > DRAIN_BYTES_MAX) {
    ha_connection_close(connection);
  }
}

static void handle_deadline(struct ha_connection *connection, uint64_t now) {
  switch (connection->state) {
  case HA_CONNECTION_WAIT:
    ha_answer_finish(&connection->answer);
    begin_sending(connection, now);
    break;
  case HA_CONNECTION_HEAD:
  case HA_CONNECTION_BODY:
    if (connection->received > 0) {
      refuse(connection, HA_STATUS_TIMEOUT, "the request took too long", now);
      break;
    }
    ha_connection_close(connection);
    break;
  default:
    ha_connection_close(connection);
  }
}

void ha_connection_step(struct ha_connection *connection, const struct ha_http_guard *guard, short events,
                        uint64_t now) {
  if (events == 0) {
    handle_deadline(connection, now);
    return;
  }
  if (!ha_socket_is_ours(&connection->socket)) {
    ha_connection_close(connection);
    return;
  }
  switch (connection->state) {
  case HA_CONNECTION_HEAD:
    read_head(connection, guard, now);
    break;
  case HA_CONNECTION_BODY:
    read_body(connection, guard, now);
    break;
  case HA_CONNECTION_SEND:
    send_some(connection, guard, now);
    break;
  case HA_CONNECTION_DRAIN:
    drain(connection);
    break;
  default:
    ha_connection_close(connection); /* waiting, and the other side has gone */
  }
}
