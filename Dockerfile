# CPU:   docker build -t xfeedback .
# CUDA:  docker build -t xfeedback --build-arg TORCH=locked .       and run with --gpus all
# Use:   docker run --rm -v "$PWD/outputs:/xfeedback/outputs" -v /path/to/data:/data xfeedback method=xbl dataset=cifar
# The locked build of torch brings its own CUDA libraries, so one base image serves both.
FROM python:3.11-slim-bookworm

# `cpu`: PyTorch's small CPU build; `locked`: the locked build, with CUDA
ARG TORCH=cpu

# make sets the environment up; git says which commit a run was made with; libgomp serves scikit-learn
RUN apt-get update \
    && apt-get install -y --no-install-recommends git libgomp1 make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /xfeedback
ENV XFEEDBACK_DATA=/data WANDB_MODE=offline

COPY . .
RUN make setup TORCH=${TORCH}

ENTRYPOINT [".venv/bin/python", "run.py"]
CMD ["--help"]
