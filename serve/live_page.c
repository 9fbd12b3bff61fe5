/* SPDX-License-Identifier: MIT */
/*
 * Found once, kept for good. Two threads that come first at a time find the same.
 */
#include "serve/live_page.h"

#include "base/atomic.h"
#include "base/plugin.h"
#include "serve/pprof_library.h"

/* Present when the page is linked into the same object. */
extern const struct ha_live_page ha_live_page __attribute__((weak));

static const struct ha_live_page *loaded; /* atomic */

const struct ha_live_page *ha_live_page_find(const char **ret_reason) {
  const struct ha_live_page *page = &ha_live_page != NULL ? &ha_live_page : ha_load_acquire(&loaded);
  if (page != NULL) {
    return page;
  }
  *ret_reason = "it is of another version";
  page = ha_plugin_symbol(HA_PPROF_LIBRARY_NAME, "ha_live_page", ret_reason);
  if (page == NULL || page->version != HA_LIVE_PAGE_VERSION) {
    return NULL;
  }
  ha_store_release(&loaded, page);
  return page;
}
