#!/usr/bin/env bash
# Build sdist and wheel, and try the wheel in bare environments: once for each extra, alone.  make try-release
# Usage: try_release.sh [EXTRA ...]   without names: all of them. Environments are removed again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3.11}
out=build/release
rm -rf "$out" && mkdir -p "$out"
"$python" -m venv "$out/tools"
"$out/tools/bin/pip" install -q --disable-pip-version-check hatchling
"$out/tools/bin/python" -m hatchling build -d "$out"
wheel=$(ls "$PWD/$out"/act3d-*.whl)
sdist=$(ls "$PWD/$out"/act3d-*.tar.gz)
all=$("$python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"])')
try() {  # NAME PACKAGE
  "$python" -m venv "$out/bare"
  "$out/bare/bin/pip" install -q --disable-pip-version-check -c constraints.txt "$2"
  (cd "$out" && bare/bin/act3d --version && bare/bin/act3d check-data sample && bare/bin/act3d doctor) > "$out/$1.txt" \
    || { echo "$1: failed; see $out/$1.txt" >&2; return 1; }
  echo "$1: $(du -sm "$out/bare" | cut -f1) MB installed, works"
  rm -rf "$out/bare"
}
try sdist "$sdist"
try wheel "$wheel"
for extra in ${@:-$all}; do
  try "$extra" "$wheel[$extra]"
done
