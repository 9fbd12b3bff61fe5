/* SPDX-License-Identifier: MIT */
/*
 * What all answers have in common.
 */
#include "serve/http_answer.h"

#include <string.h>

#include "base/log.h"
#include "serve/http_status.h"

/* Nothing may run or load in a page of ours but the live one, nor may it be framed. */
#define POLICY "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

void ha_answer_start(struct ha_answer *answer, int status, const char *content_type) {
  ha_body_discard(&answer->body);
  memset(answer, 0, sizeof *answer);
  answer->status = status;
  answer->content_type = content_type;
}

void ha_answer_line(struct ha_answer *answer, int status, const char *line) {
  ha_answer_start(answer, status, HA_TEXT_PLAIN);
  ha_body_format(&answer->body, "%s\n", line);
}

void ha_answer_pprof_error(struct ha_answer *answer, int status, const char *line) {
  ha_answer_line(answer, status, line);
  answer->is_pprof_error = true;
}

struct field {
  const char *name;
  const char *value; /* NULL: absent */
};

int ha_answer_fields(const struct ha_answer *answer,
                     int (*fn)(void *arg, const char *name, const char *value), void *arg) {
  char disposition[HA_ANSWER_FILE_MAX + sizeof "attachment; filename=\"\""];
  ha_format(disposition, sizeof disposition, "attachment; filename=\"%s\"", answer->file_name);
  const struct field fields[] = {
      {"Content-Type", answer->content_type},
      {"Content-Encoding", answer->encoding},
      {"Content-Disposition", answer->file_name[0] != '\0' ? disposition : NULL},
      {"X-Content-Type-Options", "nosniff"},
      {"X-Go-Pprof", answer->is_pprof_error ? "1" : NULL},
      {"Allow", answer->allow},
      {"Location", answer->location},
      {"WWW-Authenticate", answer->status == HA_STATUS_UNAUTHORIZED ? "Bearer" : NULL},
      {"Cache-Control", "no-store"},
      {"Content-Security-Policy", answer->policy != NULL ? answer->policy : POLICY},
      {"Cross-Origin-Resource-Policy", "same-origin"},
  };
  int result = 0;
  for (size_t i = 0; i < HA_ARRAY_LEN(fields) && result == 0; i++) {
    if (fields[i].value != NULL) {
      result = fn(arg, fields[i].name, fields[i].value);
    }
  }
  return result;
}
