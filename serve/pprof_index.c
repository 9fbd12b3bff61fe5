/* SPDX-License-Identifier: MIT */
/*
 * /debug/pprof/: the profiles that there are, with the number of rows of each. Of the form of Go's page, so that who
 * reads that with a program reads this.
 */
#include <string.h>
#include <sys/stat.h>

#include "serve/http_routes.h"
#include "serve/http_status.h"
#include "serve/kinds.h"
#include "serve/profiles.h"
#include "serve/spans.h"

/* What there is beside kinds and spans; in the order of the names. */
static const char *const others[] = {"cmdline", "symbol"};

static const struct description {
  const char *name;
  const char *text;
} descriptions[] = {
    {"allocs", "Where memory was allocated since the start of the process, estimated from samples."},
    {"block", "Where threads waited for locks, conditions and input."},
    {"cmdline", "The command line; only if HALLOC_HTTP_CMDLINE=1 allows it."},
    {"delta_block", "As block, since the request before."},
    {"delta_heap", "As allocs, since the request before; with the memory in use now."},
    {"delta_mutex", "As mutex, since the request before."},
    {"fragmentation", "Free memory inside pages that are in use, by who keeps them in use."},
    {"goroutine", "The stacks of all threads now; the same as threads."},
    {"heap",
     "Where the memory was allocated that is in use now, estimated from samples. With gc=1 idle memory is "
     "given back to the system first."},
    {"lifetimes", "How long freed memory lived, by who allocated it."},
    {"mutex", "Who held the locks that others waited for."},
    {"peak", "Where the memory was allocated that was in use when most was."},
    {"profile", "Where processor time goes, over so many seconds as the parameter seconds says."},
    {"rss", "Where the resident memory of the process is, to the last OS page."},
    {"since_mark", "What was allocated since the last mark, and is in use now."},
    {"symbol", "The names of functions at addresses, for pprof."},
    {"threadcreate", "Where threads were created."},
    {"threads", "The stacks of all threads now."},
    {"trace", "What the threads did, over so many seconds as the parameter seconds says."},
};

static const char *describe(const char *name) {
  for (size_t i = 0; i < HA_ARRAY_LEN(descriptions); i++) {
    if (strcmp(descriptions[i].name, name) == 0) {
      return descriptions[i].text;
    }
  }
  return "";
}

/* The next name in the order of the names, of the three lists; false at the end. kind NULL: it has no rows. */
struct cursor {
  unsigned kind, span, other;
};

static const char *less(const char *a, const char *b) {
  return a == NULL || (b != NULL && strcmp(b, a) < 0) ? b : a;
}

static const char *next(struct cursor *cursor, const struct ha_kind **ret_kind) {
  const struct ha_kind *kind = ha_kind_at(cursor->kind);
  const struct ha_span *span = ha_span_at(cursor->span);
  const char *kind_name = kind != NULL ? kind->name : NULL;
  const char *span_name = span != NULL ? span->name : NULL;
  const char *other_name = cursor->other < HA_ARRAY_LEN(others) ? others[cursor->other] : NULL;
  const char *name = less(kind_name, less(span_name, other_name));
  bool is_kind = name == kind_name;
  cursor->kind += is_kind;
  cursor->span += !is_kind && name == span_name;
  cursor->other += !is_kind && name != span_name;
  *ret_kind = is_kind ? kind : NULL;
  return name;
}

static void for_each(struct ha_body *body,
                     void (*fn)(struct ha_body *, const char *name, const struct ha_kind *)) {
  struct cursor cursor = {0, 0, 0};
  const struct ha_kind *kind;
  const char *name;
  while ((name = next(&cursor, &kind)) != NULL) {
    fn(body, name, kind);
  }
}

/* To look at their stacks, only to count them, would disturb them. */
static uint64_t thread_count(void) {
  struct stat tasks;
  const nlink_t directories = 2;
  return stat("/proc/self/task", &tasks) == 0 ? tasks.st_nlink - directories : 0;
}

static void put_line(struct ha_body *body, const char *name, const struct ha_kind *kind) {
  uint64_t count = kind == NULL ? 0 : kind->gather != NULL ? thread_count() : ha_profile_count(kind);
  ha_body_format(body, "<tr><td>%lu</td><td><a href='%s?debug=1'>", count, name);
  ha_body_html(body, name);
  ha_body_text(body, "</a></td></tr>\n");
}

static void put_description(struct ha_body *body, const char *name, const struct ha_kind *kind) {
  (void)kind;
  ha_body_text(body, "<li><div class=profile-name>");
  ha_body_html(body, name);
  ha_body_text(body, ": </div> ");
  ha_body_html(body, describe(name));
  ha_body_text(body, "</li>\n");
}

void ha_route_pprof_index(struct ha_answer *answer, const struct ha_http_request *request) {
  (void)request;
  ha_answer_start(answer, HA_STATUS_OK, HA_TEXT_HTML);
  struct ha_body *body = &answer->body;
  ha_body_text(body, "<html>\n<head>\n<title>/debug/pprof/</title>\n<style>\n"
                     ".profile-name{\n\tdisplay:inline-block;\n\twidth:6rem;\n}\n</style>\n</head>\n<body>\n"
                     "/debug/pprof/\n<br>\n<p>debug=1 as a parameter gives the text form.</p>\n<br>\n"
                     "Profiles of this process:\n<table>\n<thead><td>Count</td><td>Profile</td></thead>\n");
  for_each(body, put_line);
  ha_body_text(body, "</table>\n");
  if (ha_kind_find("goroutine") != NULL) {
    ha_body_text(body, "<a href=\"goroutine?debug=2\">the stacks of all threads as text</a>\n<br>\n");
  }
  ha_body_text(body, "<p>\nWhat they say:\n<ul>\n");
  for_each(body, put_description);
  ha_body_text(body, "</ul>\n</p>\n</body>\n</html>\n");
}
