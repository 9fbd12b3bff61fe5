/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: an address that is read as another one, above all one that is taken for local and is not.
 */
#include "base/address_text.h"
#include "tests/test.h"

static void check_good(const char *text, const char *shown, bool is_local) {
  struct ha_address address;
  char out[HA_ADDRESS_TEXT_MAX];
  CHECK(ha_address_text_parse(&address, text), "%s is refused", text);
  size_t length = ha_address_format(&address, out, sizeof out);
  CHECK_STRING(out, shown);
  CHECK_EQ(length, strlen(shown));
  CHECK(ha_address_is_local(&address) == is_local, "%s is %s", text, is_local ? "not local" : "local");
}

TEST(good_addresses_are_shown_as_they_are_meant) {
  check_good("127.0.0.1:6060", "127.0.0.1:6060", true);
  check_good("localhost:1", "127.0.0.1:1", true);
  check_good(":0", "127.0.0.1:0", true);
  check_good(":65535", "127.0.0.1:65535", true);
  check_good("6060", "127.0.0.1:6060", true);
  check_good("127.255.255.254:1", "127.255.255.254:1", true);
  check_good("[::1]:6060", "[::1]:6060", true);
  check_good("[0:0:0:0:0:0:0:1]:1", "[::1]:1", true);
  check_good("unix:/run/x.sock", "unix:/run/x.sock", true);
  check_good("0.0.0.0:6060", "0.0.0.0:6060", false);
  check_good("[::]:6060", "[::]:6060", false);
  check_good("128.0.0.1:1", "128.0.0.1:1", false);
  check_good("126.0.0.1:1", "126.0.0.1:1", false);
  check_good("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", false);
  check_good("[::2]:1", "[::2]:1", false);
  check_good("[fe80::1]:1", "[fe80::1]:1", false);
}

TEST(others_are_refused_and_change_nothing) {
  static const char *const bad[] = {"",
                                    ":",
                                    "x",
                                    "x:1",
                                    "127.0.0.1",
                                    "127.0.0.1:",
                                    "127.0.0.1:65536",
                                    "127.0.0.1:-1",
                                    "127.0.0.1:+1",
                                    "127.0.0.1:1 ",
                                    " 127.0.0.1:1",
                                    "127.0.0.1:000001",
                                    "::1:1",
                                    "[::1]",
                                    "[]:1",
                                    "[::1:1",
                                    "[127.0.0.1]:1",
                                    "127.1:1",
                                    "0x7f.0.0.1:1",
                                    "2130706433:1",
                                    "LOCALHOST:1",
                                    "unix:",
                                    "unix:x",
                                    "unix:@abstract",
                                    "unix:localhost:1",
                                    "http://127.0.0.1:1",
                                    "[::1%lo]:1"};
  for (size_t i = 0; i < HA_ARRAY_LEN(bad); i++) {
    struct ha_address address = {.kind = HA_ADDRESS_UNIX, .path = "/kept"};
    CHECK(!ha_address_text_parse(&address, bad[i]), "%s is taken", bad[i]);
    CHECK_EQ((int)address.kind, (int)HA_ADDRESS_UNIX);
    CHECK_STRING(address.path, "/kept");
  }
}

TEST(paths_have_room_for_the_name_that_is_bound_first) {
  char text[HA_ADDRESS_TEXT_MAX + 2] = "unix:/";
  struct ha_address address;
  memset(text + 6, 'x', HA_ADDRESS_PATH_MAX - 2); /* with the slash and the NUL as long as may be */
  CHECK(ha_address_text_parse(&address, text), "the longest path is refused");
  text[strlen(text)] = 'x';
  CHECK(!ha_address_text_parse(&address, text), "a longer path is taken");
}

TEST(nothing_is_local_by_default) {
  struct ha_address address = {.kind = HA_ADDRESS_NONE};
  char out[HA_ADDRESS_TEXT_MAX];
  CHECK(!ha_address_is_local(&address), "no address is local");
  ha_address_format(&address, out, sizeof out);
  CHECK_STRING(out, "");
}
