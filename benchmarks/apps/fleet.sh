#!/bin/sh
# One node of a fleet: fleet.sh FOLDER stop|gone|upgrade|installed|start [RELEASE]. Its process is a sleep.
cd "$1" || exit 9
alive() { [ -s pid ] && read -r pid < pid && read -r line < "/proc/$pid/stat" 2>/dev/null && [ "${line#*(sleep) [RSD]}" != "$line" ]; }
case $2 in
  stop) alive && kill "$pid" ;;
  gone) if alive; then exit 1; fi ;;
  upgrade) echo "$3" > installed ;;
  installed) cat installed ;;
  start) alive || { setsid sleep 3600 </dev/null >/dev/null 2>&1 & echo $! > pid; cp installed running; } ;;
esac
exit 0
