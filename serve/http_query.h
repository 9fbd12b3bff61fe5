/* SPDX-License-Identifier: MIT */
/*
 * Parameters of a query, read as Go's net/url and strconv read them.
 */
#ifndef HA_SERVE_HTTP_QUERY_H
#define HA_SERVE_HTTP_QUERY_H

#include "serve/http_request.h"

/* Longer values count as absent: no parameter has a long one. */
#define HA_QUERY_VALUE_MAX 64

/* The first value of a key, decoded ("" if it has none). False: the key is not there, or its value is too long or has a
 * malformed escape. */
bool ha_query_value(struct ha_slice query, const char *key, char value[HA_QUERY_VALUE_MAX]);

/* A decimal number with or without sign, the whole text. False: it is malformed, or out of range; *ret_number is then 0,
 * or the nearest limit. */
bool ha_query_parse_number(const char *text, int64_t *ret_number);

/* The number of a key as Go's Atoi with its error ignored has it: 0 if it is absent or malformed. */
int64_t ha_query_number(struct ha_slice query, const char *key);

#endif
