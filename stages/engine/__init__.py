"""How work runs: items, batches, worker processes, the cache, devices and the closing line of a command."""
