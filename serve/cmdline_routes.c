/* SPDX-License-Identifier: MIT */
/*
 * The command line. Arguments may hold secrets, so they are served only if HALLOC_HTTP_CMDLINE=1 says so; the name of
 * the program, which google-pprof cannot do without, always.
 */
#include <string.h>

#include "base/config.h"
#include "base/process.h"
#include "serve/http_routes.h"
#include "serve/http_status.h"

#define PART_SIZE 4096

/* The arguments with a NUL behind each, as the kernel has them. */
static void put_arguments(struct ha_body *body) {
  char part[PART_SIZE];
  size_t offset = 0, size;
  while ((size = ha_process_read("/proc/self/cmdline", offset, part, sizeof part)) > 0) {
    ha_body_append(body, part, size);
    offset += size;
  }
}

void ha_route_pprof_cmdline(struct ha_answer *answer, const struct ha_http_request *request) {
  (void)request;
  if (ha_config.http_cmdline == 0) {
    ha_answer_pprof_error(answer, HA_STATUS_FORBIDDEN,
                          "the command line may hold secrets; HALLOC_HTTP_CMDLINE=1 serves it");
    return;
  }
  ha_answer_start(answer, HA_STATUS_OK, HA_TEXT_PLAIN);
  put_arguments(&answer->body);
  /* Go joins with NUL and ends with none. */
  answer->body.size -= answer->body.size > 0;
}

void ha_route_legacy_program(struct ha_answer *answer, const struct ha_http_request *request) {
  (void)request;
  ha_answer_start(answer, HA_STATUS_OK, HA_TEXT_PLAIN);
  put_arguments(&answer->body);
  if (answer->body.size > 0 && ha_config.http_cmdline == 0) {
    answer->body.size = strnlen(answer->body.data, answer->body.size);
  }
}
