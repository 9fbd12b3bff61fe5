#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Turns the built page into C: ha_live_page. The policy for the header of the answer is the page's own, and that
no other page may frame it, which only a header can say. usage: embed.py PAGE.html OUTPUT.c
"""
import gzip
import re
import sys

source, output = sys.argv[1:3]
with open(source, "rb") as file:
    page = file.read()
packed = gzip.compress(page, compresslevel=9, mtime=0)
policy = re.search(rb'http-equiv="Content-Security-Policy" content="([^"\\]+)"', page).group(1).decode()
lines = [", ".join(str(byte) for byte in packed[at:at + 24]) for at in range(0, len(packed), 24)]
with open(output, "w") as file:
    file.write("/* Generated from page/live.html by page/embed.py. */\n"
               '#include "page/live_page.h"\n\n'
               "static const unsigned char bytes[] = {\n" + ",\n".join(lines) + "};\n\n"
               "HA_EXPORT const struct ha_live_page ha_live_page = "
               f'{{HA_LIVE_PAGE_VERSION, sizeof bytes, bytes, "{policy}; frame-ancestors \'none\'"}};\n')
