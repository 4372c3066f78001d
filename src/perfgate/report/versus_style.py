"""Colours, marks and ink of benchmark_comparison.png."""

# Okabe and Ito's palette in an order of falling contrast: told apart by colour-blind eyes, and by lightness in print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")  # a second cue beside colour
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
INK, FAINT = "#222222", "#8a8a8a"
GREY = "#555555"  # of what is read second
