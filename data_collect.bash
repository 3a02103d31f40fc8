#!/usr/bin/env bash
# Record with several workers at once.  Usage: ./data_collect.bash [workers] [options of extract.py]
# Waits for all, fails if one fails, and stops all on Ctrl-C.
set -u
workers=$(nproc)
if [[ ${1:-} =~ ^[0-9]+$ ]]; then workers=$1; shift; fi
if ((workers < 1)); then echo "error: $workers workers can't record: give 1 or more" >&2; exit 2; fi
python=${PYTHON:-python}

pids=()
stop() { trap - INT TERM; kill -TERM "${pids[@]}" 2>/dev/null; wait; exit 130; }
trap stop INT TERM
for ((worker = 0; worker < workers; worker++)); do
    "$python" "$(dirname "$0")/extract.py" --worker "$worker" --workers "$workers" "$@" &
    pids+=($!)
done
status=0
for pid in "${pids[@]}"; do
    wait "$pid" || { code=$?; ((status == 0)) && { status=$code; kill -TERM "${pids[@]}" 2>/dev/null; }; }
done
exit "$status"
