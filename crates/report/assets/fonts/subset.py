"""Cuts the fonts of the PNG pictures out of Inter 4.1, deterministically.

    npm pack inter-ui@4.1.1 && tar xzf inter-ui-4.1.1.tgz
    pip install fonttools==4.68.0 brotli==1.2.1
    python subset.py package/web .

Latin, Greek and basic Cyrillic with kerning, without hints: what class names and axis labels need.
"""

import sys
from pathlib import Path

from fontTools import subset

RANGES = [
    (0x0020, 0x007E), (0x00A0, 0x017F), (0x0218, 0x021B), (0x02C6, 0x02DD), (0x0386, 0x03CE), (0x0400, 0x045F),
    (0x0490, 0x0491), (0x1E9E, 0x1E9E), (0x2010, 0x2015), (0x2018, 0x201E), (0x2020, 0x2022), (0x2026, 0x2026),
    (0x2030, 0x2030), (0x2032, 0x2033), (0x2039, 0x203A), (0x20AC, 0x20AC), (0x2122, 0x2122), (0x2190, 0x2193),
    (0x2212, 0x2212), (0x221E, 0x221E), (0x2248, 0x2248), (0x2260, 0x2260), (0x2264, 0x2265),
]  # fmt: skip

source, target = map(Path, sys.argv[1:])
for style in ("Regular", "SemiBold"):
    options = subset.Options()
    options.hinting = False
    options.layout_features = ["kern"]
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14, 16, 17]
    options.notdef_outline = True
    font = subset.load_font(source / f"Inter-{style}.woff2", options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[point for first, last in RANGES for point in range(first, last + 1)])
    subsetter.subset(font)
    font.flavor = None
    subset.save_font(font, target / f"Inter-{style}.ttf", options)
