"""Several seeds of one cell trained as one program: stacked parameters, one forward and backward pass for all."""
