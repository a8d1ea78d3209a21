#!/usr/bin/env bash
# Build sdist and wheel, and try the wheel in bare environments: once for each extra, alone.  make try-release
# Usage: try_release.sh [EXTRA ...]   without names: all but dev (make test) and timm (make test-timm).
# An extra is tried by scripts/try_extra.py, which must fail before it is installed. Environments are removed again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3.11}
out=$PWD/build/release
rm -rf "$out" && mkdir -p "$out"
install() {  # ENVIRONMENT PACKAGE ...
  "$out/$1/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt "${@:2}" 2>> "$out/pip.txt"
}
"$python" -m venv "$out/tools"
install tools hatchling
"$out/tools/bin/python" -m hatchling build -d "$out"
wheel=$(ls "$out"/act3d-*.whl)
extras=${*:-$("$python" - <<'PYTHON'
import tomllib
extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
print(*(name for name in extras if name not in ("dev", "timm")))
PYTHON
)}

for name in sdist wheel; do  # the wheel's stays: every extra begins with a copy of it
  rm -rf "$out/plain"
  "$python" -m venv "$out/plain"
  install plain "$(ls "$out"/act3d-*."$([ $name = sdist ] && echo tar.gz || echo whl)")"
  (cd "$out" && plain/bin/act3d --version && plain/bin/act3d check-data sample --page none && plain/bin/act3d doctor) \
    > "$out/$name.txt" || { echo "$name: failed; see $out/$name.txt" >&2; exit 1; }
  echo "$name: $(du -sm "$out/plain" | cut -f1) MB installed, works"
done

try() {  # EXTRA
  local base began failed=""
  base=$(du -sm "$out/plain" | cut -f1)
  cp -al "$out/plain" "$out/bare"  # hard links: pip replaces files, it does not write into them
  "$out/bare/bin/python" scripts/try_extra.py "$1" > "$out/$1-without.txt" 2>&1 \
    && { echo "$1: works without what it installs" >&2; return 1; }
  install bare "$wheel[$1]" || failed="cannot be installed; see $out/pip.txt"
  began=$SECONDS
  [ -n "$failed" ] || "$out/bare/bin/python" scripts/try_extra.py "$1" > "$out/$1.txt" 2>&1 || failed="fails; see $out/$1.txt"
  echo "$1: +$(($(du -sm "$out/bare" | cut -f1) - base)) MB, ${failed:-works, tried in $((SECONDS - began)) s}"
  rm -rf "$out/bare"
  [ -z "$failed" ]
}

if [[ " $extras " == *" s3 "* ]]; then
  install tools "moto[server]"
  "$out/tools/bin/moto_server" -H 127.0.0.1 -p "${S3_PORT:-9753}" > "$out/moto.txt" 2>&1 &
  trap 'kill %1' EXIT
  export AWS_ENDPOINT_URL=http://127.0.0.1:${S3_PORT:-9753} AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
fi
wrong=0
for extra in $extras; do
  try "$extra" || wrong=1
done
exit $wrong
