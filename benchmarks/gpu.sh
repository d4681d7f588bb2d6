#!/usr/bin/env bash
# Measures training and exported files on the GPUs of this machine, and prints the tables of docs/scale.md:
#
#   benchmarks/gpu.sh | tee gpu.md      # about 30 minutes on one GPU
#   benchmarks/gpu.sh --small           # a try on any machine, also without a GPU, in 3 minutes
#
# PYTHON names the Python that has tfrcnn (default: python).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
python="${PYTHON:-python}"

gpus=0
if command -v nvidia-smi > /dev/null; then
  gpus="$(nvidia-smi --list-gpus | wc -l)"
fi
case "${1:-}" in
  "")
    if [ "$gpus" = 0 ]; then
      echo "error: found no GPU with nvidia-smi; --small tries the script without one" >&2
      exit 2
    fi
    models=(mobilenet_v2_fpn resnet50_fpn)
    precisions=(float32 mixed_float16 mixed_bfloat16)
    step=(--image-size 640 --batch-size 8 --steps 50)
    exports=(--image-size 640 --batch-sizes 1 8 --rounds 50)
    ;;
  --small)
    models=(tiny_fpn)
    precisions=(float32 mixed_float16)
    step=(--image-size 64 --batch-size 1 --steps 2)
    exports=(--image-size 64 --batch-sizes 1 2 --rounds 2)
    [ "$gpus" != 0 ] || gpus=2 # parts of the CPU
    ;;
  *)
    echo "error: expected no argument or --small, found $1" >&2
    exit 2
    ;;
esac

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null | sort | uniq -c || true
"$python" -c 'import tensorflow as tf, tfrcnn; print(f"tensorflow {tf.__version__}, tfrcnn {tfrcnn.__version__}\n")'

head=(--head)
row() {
  "$python" benchmarks/device_step.py "${step[@]}" "$@" ${head[@]+"${head[@]}"} ||
    echo "failed: device_step.py ${step[*]} $*" >&2
  head=()
}
for model in "${models[@]}"; do
  for precision in "${precisions[@]}"; do
    row --model "$model" --precision "$precision"
  done
  row --model "$model" --kernels portable
  row --model "$model" --kernels portable --xla
  for ((devices = 2; devices <= gpus; devices *= 2)); do
    row --model "$model" --precision mixed_float16 --devices "$devices"
  done
done
echo
for model in "${models[@]}"; do
  "$python" benchmarks/device_exports.py --model "$model" "${exports[@]}" || echo "| $model | failed |"
  echo
done
