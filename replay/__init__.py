"""A day of a city, played through the public API as its users would. See ``docs/replay.md``."""
