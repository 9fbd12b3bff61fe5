/* SPDX-License-Identifier: MIT */
/*
 * When the admin port is opened: by HALLOC_HTTP when the program starts, or by hp_http_serve; never otherwise.
 *
 * A forked child has neither the thread nor the sockets, and may open its own. At exit the name of a Unix socket is
 * removed.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "alloc/background.h"
#include "alloc/own_thread.h"
#include "alloc/thread.h"
#include "base/atomic.h"
#include "base/config.h"
#include "base/log.h"
#include "base/plugin.h"
#include "halloc.h"
#include "sampler/sample.h"
#include "serve/http_body.h"
#include "serve/http_routes.h"
#include "serve/http_server.h"
#include "serve/pprof_library.h"

enum state { CLOSED, OPENING, SERVING };

static int state;                 /* atomic */
static struct ha_server *server;  /* written before its thread starts */
static struct ha_address address; /* written before SERVING */
static char address_text[HA_ADDRESS_TEXT_MAX];
static bool has_handlers; /* only while OPENING */

static void run(void) {
  ha_sample_pause(true); /* nothing of ours belongs into profiles */
  ha_server_run(server);
}

static void after_fork_in_child(void) {
  ha_store_relaxed(&state, CLOSED);
  server = NULL;
  ha_socket_after_fork_in_child();
  ha_body_after_fork_in_child();
  ha_routes_after_fork_in_child();
}

static void remove_name(void) {
  if (ha_load_acquire(&state) == SERVING) {
    ha_socket_unlink(&address);
  }
}

__attribute__((destructor)) static void on_exit_of_process(void) {
  remove_name();
}

/* Once in the life of a process and its children. */
static void register_handlers(void) {
  if (!has_handlers) {
    pthread_atfork(NULL, NULL, after_fork_in_child);
    at_quick_exit(remove_name);
    has_handlers = true;
  }
}

static int open_server(void) {
  struct ha_socket listener;
  int error = ha_socket_listen(&address, &listener);
  if (error != 0) {
    return error;
  }
  server = ha_server_new(&address, listener);
  if (server == NULL) {
    ha_socket_close(&listener);
    return -ENOMEM;
  }
  /* Now, on a thread that may load libraries: ours is to allocate nothing. */
  ha_pprof_library();
  if (!ha_own_thread_create(run, "halloc-http")) {
    ha_socket_unlink(&address);
    ha_socket_close(&listener);
    ha_server_discard(server);
    return -EAGAIN;
  }
  return 0;
}

static const char *missing_token(const struct ha_address *wanted) {
  if (ha_config.is_http_token_malformed) {
    return "HALLOC_HTTP_TOKEN is malformed";
  }
  return !ha_address_is_local(wanted) && ha_config.http_token[0] == '\0'
             ? "an address that other machines reach needs HALLOC_HTTP_TOKEN"
             : NULL;
}

/* 0 or -errno; *ret_reason tells more than that, or is NULL. */
static int serve(const struct ha_address *wanted, const char **ret_reason) {
  int closed = CLOSED;
  *ret_reason = missing_token(wanted);
  if (*ret_reason != NULL) {
    return -EACCES;
  }
  if (!ha_cas_strong_acq_rel(&state, &closed, OPENING)) {
    return -EALREADY;
  }
  address = *wanted;
  register_handlers();
  int error = open_server();
  if (error == 0) {
    ha_address_format(&address, address_text, sizeof address_text);
    ha_log("serving %s%s%s", address.kind == HA_ADDRESS_UNIX ? "" : "http://", address_text,
           address.kind == HA_ADDRESS_UNIX ? "" : "/debug/pprof/");
  }
  ha_store_release(&state, error == 0 ? SERVING : CLOSED);
  if (error == 0) {
    ha_background_start();
  }
  return error;
}

HA_EXPORT int hp_http_serve(const char *text) {
  int saved = errno;
  struct ha_address wanted;
  const char *reason;
  if (text == NULL || !ha_address_text_parse(&wanted, text)) {
    return -EINVAL;
  }
  if (getauxval(AT_SECURE) != 0) {
    return -EPERM;
  }
  ha_initialize();
  int error = serve(&wanted, &reason);
  errno = saved;
  return error;
}

HA_EXPORT const char *hp_http_address(void) {
  return ha_load_acquire(&state) == SERVING ? address_text : NULL;
}

__attribute__((constructor)) static void start_up(void) {
  ha_initialize();
  const char *reason;
  if (ha_config.http.kind == HA_ADDRESS_NONE) {
    return;
  }
  ha_plugin_prepare();
  int error = serve(&ha_config.http, &reason);
  if (error != 0) {
    char text[HA_ADDRESS_TEXT_MAX];
    ha_address_format(&ha_config.http, text, sizeof text);
    ha_log("HALLOC_HTTP=%s: not served: %s", text, reason != NULL ? reason : strerrordesc_np(-error));
  }
}
