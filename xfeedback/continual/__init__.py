"""Incremental learning: phases of training, what holds the network near what it has learned, and what it forgets."""
