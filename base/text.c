/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 by a table of lead bytes. No locale, no state.
 */
#include "base/text.h"

/*
 * What a lead byte says of its sequence (Unicode 15, table 3-7): how many bytes it has and the range of the
 * second one, which excludes overlong forms, surrogates and what lies above U+10FFFF.
 */
struct utf8_lead {
  unsigned char first, last, size, second_first, second_last;
};

static const struct utf8_lead utf8_leads[] = {
    {0x20, 0x7e, 1, 0, 0},       {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
    {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
    {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
};
#define UTF8_TAIL_FIRST 0x80
#define UTF8_TAIL_LAST 0xbf

/* Does the sequence go on as its lead byte says? The terminating NUL is in no range, so it ends the test. */
static bool has_tail(const unsigned char *text, const struct utf8_lead *lead) {
  if (lead->size > 1 && (text[1] < lead->second_first || text[1] > lead->second_last)) {
    return false;
  }
  for (size_t i = 2; i < lead->size; i++) {
    if (text[i] < UTF8_TAIL_FIRST || text[i] > UTF8_TAIL_LAST) {
      return false;
    }
  }
  return true;
}

size_t ha_text_printable(const char *text) {
  const unsigned char *bytes = (const unsigned char *)text;
  for (size_t i = 0; i < HA_ARRAY_LEN(utf8_leads); i++) {
    if (bytes[0] >= utf8_leads[i].first && bytes[0] <= utf8_leads[i].last) {
      return has_tail(bytes, &utf8_leads[i]) ? utf8_leads[i].size : 0;
    }
  }
  return 0;
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

size_t ha_text_name(const char *text) {
  size_t size = 0;
  while (is_letter(text[size]) || (size > 0 && text[size] >= '0' && text[size] <= '9')) {
    size++;
  }
  return size;
}
