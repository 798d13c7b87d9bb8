"""The training loops of the three networks, one file a network, and the processes that train one together."""
