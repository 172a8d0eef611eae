"""Run one cell of a comparison: build, train, evaluate, write; resume, skip, record where every number comes from."""
