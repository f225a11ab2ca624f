#!/bin/sh
# Starts the release that HOME/current points to, and returns: start.sh HOME
set -eu
cd "$1"
HITLESS_RUN_DIR="$1/run" PYTHONDONTWRITEBYTECODE=1 \
  setsid "$1/current/venv/bin/python" -m hitless serve -c "$1/hitless.toml" >>service.log 2>&1 </dev/null &
