#!/bin/sh
# Run tests/timm in an environment of its own (.venv-timm): timm brings torchvision, and PyPI's torchvision beside a
# CPU build of torch would break lightning, torchmetrics and transformers in the main environment.
# A second call reuses the environment unless the constraints changed. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."

env=.venv-timm
stamp="$env/.installed"
constraints=""
torch="torch==2.13.0"
if [ -f constraints.txt ]; then
    constraints="-c constraints.txt"
fi
if [ ! -f "$stamp" ] || [ constraints.txt -nt "$stamp" ] || [ scripts/test_timm.sh -nt "$stamp" ]; then
    for python in "${PYTHON:-}" .venv/bin/python python3.11 python3; do
        if command -v "$python" >/dev/null 2>&1; then break; fi
    done
    "$python" -m venv "$env"
    # torch first and alone: once it is there, torchvision takes it as it is instead of fetching a CUDA build.
    # shellcheck disable=SC2086
    "$env/bin/python" -m pip install -q $constraints "$torch"
    # shellcheck disable=SC2086
    "$env/bin/python" -m pip install -q $constraints "$torch" "timm==1.0.31" safetensors numpy pytest pytest-timeout
    touch "$stamp"
fi
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
PYTHONPATH=src exec "$env/bin/python" -m pytest --confcutdir=tests/timm -m timm tests/timm "$@"
