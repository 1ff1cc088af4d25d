#!/bin/sh
# Writes the pinned requirement files in this folder from each pyproject.toml and the *.in files.
#
# usage: requirements/pin.sh [--upgrade]
#
# Pins that satisfy the inputs are kept; --upgrade selects the newest versions. The files are valid for
# Python 3.11 to 3.13 on every platform, by markers, and name no package index.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}

compile() { # OUTPUT ARGS...
  output=requirements/$1
  shift
  echo "$output" >&2
  "$uv" pip compile --quiet --universal --no-header --no-annotate --python-version 3.11 \
    --no-emit-package latens --no-emit-package latens-serving \
    --no-emit-package latens-training --no-emit-package latens-export \
    --no-emit-package latens-bulk \
    --output-file "$output" "$@" >/dev/null
}

without_cuda() { # What torch fixes itself, by exact versions, is not ours to pin.
  sed '/^nvidia-/d; /^cuda-/d; /^triton==/d' "$1" >"$1.new"
  mv "$1.new" "$1"
}

serving="clients/python/pyproject.toml serving/pyproject.toml"
all="$serving training/pyproject.toml export/pyproject.toml bulk/pyproject.toml"
compile dev.txt $all --all-extras requirements/dev.in "$@"
without_cuda requirements/dev.txt
same="--constraint requirements/dev.txt"
compile train.txt $same $all --extra cli --extra fonts --extra remote --extra pictures requirements/train.in "$@"
without_cuda requirements/train.txt
compile serve.txt $same $serving --extra remote --extra pictures "$@"
compile serve-cuda.txt --constraint requirements/serve.txt \
  $serving --extra gpu --extra remote --extra pictures "$@"
# The image for a CPU: the runtime without its CUDA kernels, on every platform.
sed '/^onnxruntime-gpu==/d; s/^\(onnxruntime==[^ ;]*\).*/\1/' requirements/serve.txt \
  >requirements/serve-cpu.txt
compile bulk.txt $same $serving bulk/pyproject.toml "$@"
# In the image the server's file chooses the runtime.
sed -i.old '/^onnxruntime/d' requirements/bulk.txt && rm requirements/bulk.txt.old
compile proto.txt requirements/proto.in "$@"
