/* SPDX-License-Identifier: MIT */
/*
 * The phrases of RFC 9110, as Go has them.
 */
#include "serve/http_status.h"

#include "base/compiler.h"

static const struct {
  int status;
  const char *reason;
} reasons[] = {
    {HA_STATUS_OK, "OK"},
    {HA_STATUS_MOVED, "Moved Permanently"},
    {HA_STATUS_BAD_REQUEST, "Bad Request"},
    {HA_STATUS_UNAUTHORIZED, "Unauthorized"},
    {HA_STATUS_FORBIDDEN, "Forbidden"},
    {HA_STATUS_NOT_FOUND, "Not Found"},
    {HA_STATUS_METHOD, "Method Not Allowed"},
    {HA_STATUS_TIMEOUT, "Request Timeout"},
    {HA_STATUS_LENGTH_REQUIRED, "Length Required"},
    {HA_STATUS_BODY_TOO_LARGE, "Request Entity Too Large"},
    {HA_STATUS_URI_TOO_LONG, "Request URI Too Long"},
    {HA_STATUS_EXPECTATION, "Expectation Failed"},
    {HA_STATUS_HEAD_TOO_LARGE, "Request Header Fields Too Large"},
    {HA_STATUS_INTERNAL, "Internal Server Error"},
    {HA_STATUS_NOT_IMPLEMENTED, "Not Implemented"},
    {HA_STATUS_UNAVAILABLE, "Service Unavailable"},
    {HA_STATUS_VERSION, "HTTP Version Not Supported"},
};

const char *ha_http_reason(int status) {
  for (unsigned i = 0; i < HA_ARRAY_LEN(reasons); i++) {
    if (reasons[i].status == status) {
      return reasons[i].reason;
    }
  }
  return "Error";
}
