#!/bin/sh
# Starts the release that HOME/current points to, and returns: start.sh HOME
#
# It returns when the service has left this session: whoever runs commands on nodes ends what is left of a command's.
set -eu
cd "$1"
rm -f pid
export HITLESS_RUN_DIR="$1/run" PYTHONDONTWRITEBYTECODE=1
setsid sh -c 'echo $$ >pid && exec current/venv/bin/python -m hitless serve -c "$1/hitless.toml"' service "$1" \
  >>service.log 2>&1 </dev/null &
n=0
until [ -s pid ]; do
  n=$((n + 1))
  [ "$n" -lt 1000 ] || { echo "start.sh: $1 was not started" >&2; exit 1; }
  sleep 0.02
done
