"""What a cycle's end is for: where it lies, and what is judged, kept or averaged there.

Free of any framework; the adapters and the recipes stand on it.
"""

from cyclerate.cycles._ends import cycle_ends as cycle_ends
