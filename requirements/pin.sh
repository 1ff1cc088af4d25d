#!/bin/sh
# Writes the pinned requirement files beside this script from pyproject.toml and the *.in files.
#
# usage: requirements/pin.sh [--upgrade]
#
# Pins that still satisfy the inputs are kept; --upgrade takes the newest of everything. The files
# hold for Python 3.11 to 3.13 on every platform, by markers, and name no package index.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}

compile() { # OUTPUT ARGS...
  output=requirements/$1
  shift
  echo "$output" >&2
  "$uv" pip compile --quiet --universal --no-header --no-annotate \
    --no-emit-package latens --no-emit-package latens-server \
    --output-file "$output" "$@" >/dev/null
}

without_cuda() { # What torch fixes itself, by exact versions, is not ours to pin.
  sed '/^nvidia-/d; /^cuda-/d; /^triton==/d' "$1" >"$1.new"
  mv "$1.new" "$1"
}

packages="pyproject.toml clients/python/pyproject.toml"
compile dev.txt --python-version 3.11 $packages --all-extras requirements/dev.in "$@"
without_cuda requirements/dev.txt
same="--python-version 3.11 --constraint requirements/dev.txt"
compile train.txt $same $packages --extra export --extra cli --extra fast --extra remote requirements/train.in "$@"
without_cuda requirements/train.txt
compile serve.txt $same $packages --extra fast --extra remote "$@"
compile serve-cuda.txt --python-version 3.11 --constraint requirements/serve.txt \
  $packages --extra gpu --extra fast --extra remote "$@"
# The processor-only image: the runtime without its CUDA kernels, on every platform.
sed '/^onnxruntime-gpu==/d; s/^\(onnxruntime==[^ ;]*\).*/\1/' requirements/serve.txt \
  >requirements/serve-cpu.txt
compile proto.txt --python-version 3.11 requirements/proto.in "$@"
