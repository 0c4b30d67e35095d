"""The ends of cycles: where they lie, and the judging, saving and averaging done there.

Free of any framework; the adapters and the recipes stand on it.
"""

from cyclerate.cycles._ends import cycle_ends as cycle_ends
