#!/bin/sh
# One node of Glance on this machine: node.sh HOME COMMAND
#
#   upgrade RELEASE VENVS   make the release the one that is started next; its venv is made if it is not there
#   installed               print it
#   start, stop, kill       the processes; each returns at once
#   gone                    exit 0 if there is none, else 1
#   running                 print the release that the processes run, by what the kernel knows of them
set -eu
home=$1 command=$2
here=$(dirname "$(readlink -f "$0")")
pid_file=$home/glance-api.pid

processes() { # of the node: the group that its main process leads
  [ -s "$pid_file" ] && pgrep -g "$(cat "$pid_file")"
}

case $command in
  upgrade)
    release=$3 venvs=$4
    if [ ! -e "$venvs/$release/.whole" ]; then
      "${PYTHON:-python3.11}" -m venv --clear "$venvs/$release"
      "$venvs/$release/bin/python" -m pip install -q --no-deps -r "$here/requirements-$release.txt"
      touch "$venvs/$release/.whole"
    fi
    ln -sfn "$venvs/$release" "$home/current.new"
    mv -T "$home/current.new" "$home/current"
    ;;
  installed) basename "$(readlink "$home/current")" ;;
  start)
    venv=$(readlink "$home/current")
    rm -f "$pid_file"
    setsid sh -c 'echo $$ >"$1" && exec "$2/bin/python" "$2/bin/glance-api" --config-file "$3"' \
      glance "$pid_file" "$venv" "$home/glance-api.conf" >>"$home/glance-api.out" 2>&1 </dev/null &
    # What has not left this session is ended with the command.
    n=0
    until [ -s "$pid_file" ]; do
      n=$((n + 1))
      [ "$n" -lt 1000 ] || { echo "node.sh: glance-api was not started" >&2; exit 1; }
      sleep 0.02
    done
    ;;
  stop) processes >/dev/null && kill "$(cat "$pid_file")" ;;
  kill) processes >/dev/null && kill -s KILL -- "-$(cat "$pid_file")" ;;
  gone) if processes >/dev/null; then exit 1; fi ;;
  running) tr '\0' ' ' <"/proc/$(cat "$pid_file")/cmdline" | sed -E 's|.*/([^/]+)/bin/glance-api.*|\1|' ;;
  *) echo "node.sh: there is no command $command" >&2; exit 2 ;;
esac
