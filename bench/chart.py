# SPDX-License-Identifier: MIT
"""Draws the times of a run, relative to mimalloc, as an SVG dot plot: a line for each row, a mark for each
allocator."""
import math
from html import escape

from results import BASE, ratio

WIDTH = 1200
LEFT, RIGHT, TOP, BOTTOM = 330, 100, 130, 60
# Left of the axis, beyond the numbers of what is too fast for it.
LABEL_GAP = 76
ROW_HEIGHT = 24
LEAST, MOST = 0.25, 8.0
TICKS = (0.25, 0.5, 0.7, 1, 1.5, 2, 3, 4, 8)
FONT = 'font-family="Helvetica, Arial, sans-serif"'
# Colour (Okabe and Ito's palette, which colour-blind readers can tell apart) and shape.
STYLES = {
    "glibc": ("#8c8c8c", "square"),
    "jemalloc": ("#0072b2", "circle"),
    "jemalloc-prof": ("#0072b2", "ring"),
    "tcmalloc": ("#009e73", "circle"),
    "tcmalloc-sampled": ("#009e73", "ring"),
    "wrapper": ("#e69f00", "square"),
    "halloc-0": ("#d55e00", "ring-diamond"),
    "halloc-16k": ("#cc79a7", "diamond"),
    "halloc": ("#d55e00", "big-diamond"),
}
LEGEND_STEP = 132


def x_of(value):
    share = math.log(value / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def diamond(x, y, r, style):
    return f'<path d="M{x:.1f} {y - r:.1f}l{r} {r}l{-r} {r}l{-r} {-r}z" {style}/>'


def mark(name, x, y):
    colour, shape = STYLES[name]
    hollow = f'fill="white" stroke="{colour}" stroke-width="1.8"'
    solid = f'fill="{colour}" stroke="white" stroke-width="0.6"'
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" {solid}/>'
    if shape == "ring":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.8" {hollow}/>'
    if shape == "square":
        return f'<rect x="{x - 3.8:.1f}" y="{y - 3.8:.1f}" width="7.6" height="7.6" {solid}/>'
    if shape == "diamond":
        return diamond(x, y, 5, solid)
    return diamond(x, y, 5.5, hollow) if shape == "ring-diamond" else diamond(x, y, 8, solid)


def text(x, y, content, size=12, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {FONT} font-size="{size}" text-anchor="{anchor}" {extra}>' \
           f"{escape(content)}</text>"


def line(x1, y1, x2, y2, colour, width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" ' \
           f'stroke-width="{width}"/>'


def draw_legend(names):
    parts = []
    for i, name in enumerate(names):
        x = 30 + i * LEGEND_STEP
        weight = 'font-weight="bold"' if name == "halloc" else ""
        parts += [mark(name, x, 82), text(x + 12, 86, name, extra=weight)]
    return parts


def draw_axis(bottom):
    parts = []
    for tick in TICKS:
        x = x_of(tick)
        is_base = tick == 1
        parts.append(line(x, TOP - 8, x, bottom, "#333333" if is_base else "#dddddd", 1.5 if is_base else 1))
        for y in (TOP - 14, bottom + 18):
            parts.append(text(x, y, f"{tick:g}", anchor="middle"))
    middle = (x_of(LEAST) + x_of(MOST)) / 2
    parts.append(text(middle, bottom + 42, anchor="middle",
                      content=f"time divided by that of {BASE}, logarithmic; left of 1 is faster"))
    return parts


def draw_outside(values, edge, y):
    """What lies outside the axis stands at its edge, with the numbers beside it."""
    if not values:
        return []
    x, is_high = x_of(edge), edge == MOST
    digits = 1 if is_high else 2
    numbers = ", ".join(f"{value:.{digits}f}" for value in sorted(value for _, value in values))
    return [mark(name, x, y) for name, _ in values] + [
        text(x + (10 if is_high else -10), y + 4, numbers, 10, "start" if is_high else "end",
             'fill="#555555"')]


def draw_row(results, row, names, y):
    values = [(name, ratio(results.time(row, name), results.time(row, BASE))) for name in names]
    known = [(name, value) for name, value in values if value]
    parts = [text(LEFT - LABEL_GAP, y + 4, row, anchor="end")]
    parts += draw_outside([item for item in known if item[1] < LEAST], LEAST, y)
    parts += draw_outside([item for item in known if item[1] > MOST], MOST, y)
    return parts + [mark(name, x_of(value), y) for name, value in known if LEAST <= value <= MOST]


def draw_rows(results, names):
    parts = []
    for i, row in enumerate(results.rows()):
        y = TOP + (i + 0.5) * ROW_HEIGHT
        if i % 2 == 0:
            parts.append(f'<rect x="20" y="{y - ROW_HEIGHT / 2:.1f}" width="{WIDTH - 40}" '
                         f'height="{ROW_HEIGHT}" fill="#f5f5f5"/>')
    parts += draw_axis(TOP + len(results.rows()) * ROW_HEIGHT)
    for i, row in enumerate(results.rows()):
        parts += draw_row(results, row, names, TOP + (i + 0.5) * ROW_HEIGHT)
    return parts


def write_chart(results, path):
    """Nothing is written when there is nothing to compare. halloc is drawn last, on top."""
    names = [name for name in STYLES if name in results.allocators]
    if BASE not in results.allocators or not names:
        return
    height = TOP + len(results.rows()) * ROW_HEIGHT + BOTTOM
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
             f'viewBox="0 0 {WIDTH} {height}">', f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
             text(20, 34, f"Time of one operation relative to {BASE}", 22, extra='font-weight="bold"'),
             text(20, 56, "Smallest of the rounds; wall time in micro rows, processor time in program rows",
                  13, extra='fill="#555555"')]
    parts += draw_legend(list(reversed(names))) + draw_rows(results, names) + ["</svg>"]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts) + "\n")
