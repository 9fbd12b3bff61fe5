/* SPDX-License-Identifier: MIT */
/*
 * The statuses that the admin port answers with.
 */
#ifndef HA_SERVE_HTTP_STATUS_H
#define HA_SERVE_HTTP_STATUS_H

#define HA_STATUS_OK 200
#define HA_STATUS_MOVED 301
#define HA_STATUS_BAD_REQUEST 400
#define HA_STATUS_UNAUTHORIZED 401
#define HA_STATUS_FORBIDDEN 403
#define HA_STATUS_NOT_FOUND 404
#define HA_STATUS_METHOD 405
#define HA_STATUS_TIMEOUT 408
#define HA_STATUS_LENGTH_REQUIRED 411
#define HA_STATUS_BODY_TOO_LARGE 413
#define HA_STATUS_URI_TOO_LONG 414
#define HA_STATUS_EXPECTATION 417
#define HA_STATUS_HEAD_TOO_LARGE 431
#define HA_STATUS_INTERNAL 500
#define HA_STATUS_NOT_IMPLEMENTED 501
#define HA_STATUS_UNAVAILABLE 503
#define HA_STATUS_VERSION 505

/* "Not Found"; "Error" for a status that is not above. */
const char *ha_http_reason(int status);

#endif
