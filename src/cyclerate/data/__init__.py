"""Published data sets: found in a folder of the user, or downloaded and checked."""
