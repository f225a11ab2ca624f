#!/bin/sh
# A balancer in a folder, for tests that are not about balancers: balancer.sh FOLDER state|sessions|drain|ready|maint [SERVER].
# Each server is a file status-NAME; sessions-NAME says how many it has, list-NAME which; down-NAME fails its checks; with the file `off` nothing
# answers.
cd "$1" || exit 9
[ -e off ] && { echo "connection refused" >&2; exit 1; }
if [ "$2" = state ]; then
  separator='{'
  for file in status-*; do
    name=${file#status-}
    read -r status < "$file"
    sessions=0; [ -e "sessions-$name" ] && read -r sessions < "sessions-$name"
    up=true; [ -e "down-$name" ] && up=false
    printf '%s"%s":{"status":"%s","up":%s,"sessions":%s,"queued":0}' "$separator" "$name" "$status" "$up" "$sessions"
    separator=,
  done
  echo '}'
elif [ "$2" = sessions ]; then
  if [ -e "list-$3" ]; then cat "list-$3"; else echo '[]'; fi
else
  echo "$2" > "new-$3.$$" && mv "new-$3.$$" "status-$3"
  echo "$2 $3" >> log
fi
