/* SPDX-License-Identifier: MIT */
/*
 * pprof's symbol protocol: "0x1234+0x5678" as query or as body of a POST; a line with address and name for each function
 * that is known.
 */
#include <errno.h>
#include <string.h>

#include "base/lock.h"
#include "serve/http_routes.h"
#include "serve/http_status.h"
#include "serve/pprof_library.h"

/* Cuts a number off the front, up to the next '+': hexadecimal with 0x, else decimal. 0: it is none. */
static uintptr_t take_address(struct ha_slice *rest) {
  const char *plus = memchr(rest->data, '+', rest->size);
  struct ha_slice word = {rest->data, plus != NULL ? (size_t)(plus - rest->data) : rest->size};
  *rest = ha_slice_behind(*rest, word.size + (plus != NULL));
  bool is_hex = ha_slice_begins(word, "0x") || ha_slice_begins(word, "0X");
  uintptr_t base = is_hex ? 16 : 10, address = 0;
  for (size_t i = is_hex ? 2 : 0; i < word.size; i++) {
    char c = word.data[i], lower = (char)(c | 0x20);
    uintptr_t digit = c >= '0' && c <= '9'           ? (uintptr_t)(c - '0')
                      : lower >= 'a' && lower <= 'f' ? (uintptr_t)(lower - 'a') + 10
                                                     : base;
    if (digit >= base || __builtin_mul_overflow(address, base, &address) ||
        __builtin_add_overflow(address, digit, &address)) {
      return 0;
    }
  }
  return address;
}

static size_t count_words(struct ha_slice list) {
  size_t count = 1;
  for (size_t i = 0; i < list.size; i++) {
    count += list.data[i] == '+';
  }
  return count;
}

static int put_names(struct ha_body *body, struct ha_slice list, const struct ha_encoders *encoders,
                     struct ha_scratch *scratch) {
  size_t capacity = count_words(list);
  uintptr_t *addresses = encoders->scratch_alloc(scratch, capacity * sizeof *addresses);
  const char **names = encoders->scratch_alloc(scratch, capacity * sizeof *names);
  if (addresses == NULL || names == NULL) {
    return -ENOMEM;
  }
  uint32_t count = 0;
  while (list.size > 0) {
    uintptr_t address = take_address(&list);
    addresses[count] = address;
    count += address != 0;
  }
  int error = encoders->name(scratch, addresses, count, names);
  for (uint32_t i = 0; i < count && error == 0; i++) {
    if (names[i] != NULL) {
      ha_body_format(body, "0x%lx %s\n", addresses[i], names[i]);
    }
  }
  return error;
}

static int find_names(struct ha_body *body, struct ha_slice list) {
  const struct ha_encoders *encoders = ha_pprof_library();
  if (encoders == NULL) {
    return -ELIBACC;
  }
  ha_lock(HA_RANK_PROFILE);
  struct ha_scratch *scratch = encoders->scratch_new();
  int error = scratch != NULL ? put_names(body, list, encoders, scratch) : -ENOMEM;
  if (scratch != NULL) {
    encoders->scratch_destroy(scratch);
  }
  ha_unlock(HA_RANK_PROFILE);
  return error;
}

void ha_route_pprof_symbol(struct ha_answer *answer, const struct ha_http_request *request) {
  struct ha_slice list = request->method == HA_HTTP_POST ? request->body : request->query;
  ha_answer_start(answer, HA_STATUS_OK, HA_TEXT_PLAIN);
  /* pprof asks without addresses first, to see whether names are to be had: any number but 0 says so. */
  ha_body_text(&answer->body, "num_symbols: 1\n");
  if (list.size > 0 && find_names(&answer->body, list) != 0) {
    ha_answer_pprof_error(answer, HA_STATUS_INTERNAL, "the symbols could not be read");
  }
}
