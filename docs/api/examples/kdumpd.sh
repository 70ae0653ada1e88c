#!/bin/bash
# kdumpd from a shell, with busctl, gdbus (for signals) and jq.
#
#   kdumpd.sh status                    one line: is the machine protected?
#   kdumpd.sh watch [COUNT]             that line whenever it changes, COUNT times or for ever
#   kdumpd.sh configure KEY=VALUE ...   change kdump.conf and wait until the change is armed; KEY= takes a setting out
#   kdumpd.sh dumps                     what was saved, the newest first
#   kdumpd.sh delete ID                 delete a dump, after asking
#   kdumpd.sh history [COUNT]           the last jobs and changes of the state
set -euo pipefail

name=org.kdumpd.Kdump1
root=/org/kdumpd/Kdump1

# A password may have to be typed, and a build may be waited for: the usual 25 seconds are too few.
call() { busctl --system --timeout=300 --json=short call "$name" "$@"; }
property() { busctl --system --json=short get-property "$name" "$@" | jq -r .data; }

# The lines of gdbus are reasons to look again; the first that says who owns the name comes when it is listening.
signals_of() { exec gdbus monitor --system --dest "$name" --object-path "$1"; }

status() {
  property "$root" "$name.Manager" StateMessage
}

watch() {
  local left=${1:-} before='' line now
  exec {signals}< <(signals_of "$root")
  local monitor=$!
  while read -r line <&"$signals"; do
    [[ $line == Monitoring* ]] && continue
    now=$(status)
    if [ "$now" != "$before" ]; then
      printf '%s\n' "$now"
      before=$now
      [ -z "$left" ] || left=$((left - 1))
      [ "$left" != 0 ] || break
    fi
  done
  kill "$monitor"
}

# Until it is done; its stages are told on the way. The exit status says whether it went well.
wait_for_job() {
  local job=$1 stage='' now line
  exec {signals}< <(signals_of "$job")
  local monitor=$!
  while read -r line <&"$signals"; do
    [[ $line == Monitoring* ]] && continue
    now=$(property "$job" "$name.Job" Stage)
    [ "$now" = "$stage" ] || [ -z "$now" ] || printf '%s ...\n' "$now"
    stage=$now
    [ "$(property "$job" "$name.Job" State)" != "done" ] || break
  done
  kill "$monitor"
  [ "$(property "$job" "$name.Job" Result)" != "done" ] || return 0
  property "$job" "$name.Job" ErrorMessage >&2
  return 1
}

configure() {
  local etag answer job pair changes=()
  # Against the text that was seen: had somebody else changed it meanwhile, this would fail with Conflict.
  etag=$(call "$root" "$name.Config" Get 'a{sv}' 0 | jq -r '.data[1]')
  for pair in "$@"; do changes+=("${pair%%=*}" s "${pair#*=}"); done
  answer=$(call "$root" "$name.Config" Set 'a{sv}sa{sv}' $# "${changes[@]}" "$etag" 0)
  job=$(jq -r '.data[1]' <<<"$answer")
  if [ "$job" != / ]; then wait_for_job "$job"; fi
  status
}

# Page after page: the last one's time and id are where the next begins.
each_dump() {
  local before=0 id='' page
  while page=$(call "$root" "$name.Manager" ListDumps 'tua{sv}' "$before" 100 1 before-id s "$id" | jq -c '.data[0]') &&
    [ "$page" != '[]' ]; do
    jq -c '.[] | map_values(.data)' <<<"$page"
    before=$(jq '.[-1].time.data' <<<"$page")
    id=$(jq -r '.[-1].id.data' <<<"$page")
  done
}

dumps() {
  each_dump | jq -r '"\(.id)  \(.size) bytes  \(if .complete then "complete" else "incomplete" end)  \(.reason)"'
}

delete() {
  local dump object answer
  dump=$(each_dump | jq -c --arg id "$1" 'select(.id == $id)')
  object=$(jq -r '.object' <<<"${dump:-null}")
  case $object in
    null) echo "there is no dump $1" >&2; return 1 ;;
    /) echo "$1 is not among the newest dumps, which alone can be deleted" >&2; return 1 ;;
  esac
  read -r -p "Delete $(jq -r .path <<<"$dump")? [y/N] " answer || true
  [ "$answer" = y ] || { echo "it stays"; return 0; }
  call "$object" "$name.Dump" Delete 'a{sv}' 0 >/dev/null
  echo "deleted"
}

history() {
  call "$root" "$name.Manager" GetHistory 'ua{sv}' "${1:-10}" 0 |
    jq -r '.data[0][] | map_values(.data) | "\(.time / 1000000 | floor | todate)  \(.kind)  \(.result)  \(.message)"'
}

case ${1:-} in
  status | watch | configure | dumps | delete | history) "$@" ;;
  *) sed -n 's/^#   //p' "$0" >&2; exit 2 ;;
esac
