#!/bin/sh
# What an operator's commands do to a node: nodectl.sh FOLDER ADDRESS PORT ACTION [RELEASE]. Each may be run again.
cd "$1" || exit 9
alive() {
  [ -s pid ] || return 1
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$(cat pid)/status" 2>/dev/null)
  # Process ids come back soon on a busy machine: it must still be ours.
  [ -n "$state" ] && [ "$state" != Z ] && grep -qs fake_node "/proc/$(cat pid)/cmdline"
}
case $4 in
  stop) alive && kill -TERM "$(cat pid)"; echo stop >> actions ;;
  kill) alive && kill -KILL "$(cat pid)"; echo kill >> actions ;;
  gone) if alive; then echo "pid $(cat pid) lives"; exit 1; fi ;;
  upgrade)
    [ -e upgrade-fails ] && { echo "no such package" >&2; exit 7; }
    alive && { echo "still there" >&2; exit 8; }
    while [ -e hold ]; do sleep 0.05; done
    echo "$5" > release.new && mv release.new release; echo "upgrade $5" >> actions ;;
  installed) cat release ;;
  start)
    if ! alive; then
      rm -f pid
      setsid "$PYTHON" -S -E "$FAKE_NODE" "$1" "$2" "$3" </dev/null >log 2>&1 &
      n=0; while ! [ -s pid ] && [ $n -lt 500 ]; do sleep 0.02; n=$((n + 1)); done
      echo "start $(cat release)" >> actions
    fi ;;
esac
exit 0
