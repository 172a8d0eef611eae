"""Other people's trackers: what is sent to wandb, MLflow and TensorBoard beside the run folder's own files.

Nothing here is needed to train or to compare; whatever fails here ends no training. ``docs/tracking.md`` is its page.
"""
