#!/bin/sh
# Install the locked environment into .venv; called by `make setup`. Safe to repeat, also after an interruption.
#   PYTHON  interpreter to use; empty: the first of python3.11, python3.12, python3.13, python3 that works
#   TORCH   `locked`, or a backend of `uv pip install --torch-backend` (cpu, cu128, auto, ...)
set -eu
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE PYTHONPATH VIRTUAL_ENV
TORCH=${TORCH:-locked}
fits='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
version='import sys; print(sys.version_info[:2])'

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        # a name on the path may be a shim that does not work, so run it
        if "$candidate" -c "$fits" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11 to 3.13 with venv and pip works here (tried: ${PYTHON:-python3.11, python3.12," \
        "python3.13, python3}). Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
}

# Whether .venv works, was made for this build of torch, and has the interpreter that was asked for.
usable() {
    .venv/bin/python -c "$fits" >/dev/null 2>&1 || return 1
    [ "$(cat .venv/.torch 2>/dev/null)" = "$TORCH" ] || return 1
    [ -z "$PYTHON" ] || [ "$("$PYTHON" -c "$version")" = "$(.venv/bin/python -c "$version")" ]
}

# Print the entries of the lock whose name matches $1, or with `-v` as $2 all others.
lock_entries() {
    awk -v wanted="^($1)\$" -v invert="${2:-}" '
        /^[a-z0-9]/ { split($0, parts, "=="); hit = parts[1] ~ wanted; if (invert) hit = !hit }
        /^[a-z0-9 ]/ && hit' requirements.lock
}

install() {
    [ -t 2 ] && quiet= || quiet=--quiet # progress bars in a terminal only
    .venv/bin/uv pip install $quiet --python .venv/bin/python "$@"
}

install_locked() {
    install --require-hashes --build-constraints requirements.lock -r requirements.lock
}

# Everything else comes from the lock with its hashes; torch keeps the locked version but comes from PyTorch's index.
install_other_torch() {
    lock_entries 'torch|torchvision|torchaudio|triton|nvidia-.*|cuda-.*' -v >.venv/rest.txt
    lock_entries 'torch|torchvision|torchaudio' | sed -n 's/^\([a-z]*==[^ ;]*\).*/\1/p' >.venv/torch.txt
    install --no-deps --require-hashes --build-constraints requirements.lock -r .venv/rest.txt
    install --torch-backend="$TORCH" -r .venv/torch.txt
}

python=$(find_python)
if ! usable; then
    rm -rf .venv
    echo "setup: new environment .venv with $("$python" --version), torch: $TORCH"
    "$python" -m venv .venv
    echo "$TORCH" >.venv/.torch
fi
present=$(.venv/bin/uv --version 2>/dev/null | awk '{ print "uv==" $2 }')
if [ "$present" != "$(lock_entries uv | awk 'NR == 1 { print $1 }')" ]; then
    lock_entries uv >.venv/uv.txt
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.txt
fi
echo "setup: installing requirements.lock (about a minute when the packages are not cached)"
export UV_COMPILE_BYTECODE=1
case $TORCH in
    locked) install_locked ;;
    *) install_other_torch ;;
esac
install --no-deps --no-build-isolation --editable .
rm -f .venv/.installed-*
