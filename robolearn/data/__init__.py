"""Episode log, store, cache, windows, statistics, import and export."""
