"""Incremental learning: phases of training."""
