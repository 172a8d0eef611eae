"""Train models whose own explanations steer the training, and find out whether it helped."""

__version__ = "0.1.0"
