#!/usr/bin/env bash
# Takes the kind cluster away, with everything in it: models, runs, what was served. Images stay in Docker.
set -euo pipefail

NAME=selftaught

if ! command -v kind >/dev/null; then
    echo "down.sh: kind is not on PATH" >&2
    exit 2
fi
if kind get clusters 2>/dev/null | grep -qx "$NAME"; then
    kind delete cluster --name "$NAME"
else
    echo "there is no cluster $NAME"
fi
