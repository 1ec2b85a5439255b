#!/usr/bin/env bash
# Build the features of a project once, as cron does it every hour:  build.sh PROJECT [options of mlforge build]
#
# One run at a time: a run that finds another one at work leaves at once. What happened goes to PROJECT/logs: a file of
# events a day, one line of JSON each, and what mlforge said to people. Cron mails what is printed, so nothing is printed
# unless somebody should look. The exit code is that of mlforge: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
set -uo pipefail

if [ $# -eq 0 ]; then
    echo "usage: build.sh PROJECT [options of mlforge build]" >&2
    exit 2
fi
project=$1
shift
cd "$project" || exit 2
mkdir -p logs
day=$(date -u +%F)
said=logs/$day.log

exec 9>logs/.lock
if ! flock --nonblock 9; then
    echo "$(date -u +%FT%TZ) skipped: the run before is still at work" >>"$said"
    exit 0
fi

echo "$(date -u +%FT%TZ) build $*" >>"$said"
errors=$(mktemp)
events=$(mktemp)
trap 'rm -f "$errors" "$events"' EXIT
# 9>&- : only this script holds the lock, so that nothing that mlforge leaves behind can keep it.
"${MLFORGE:-mlforge}" build --json "$@" 2>"$errors" 9>&- | tee -a "logs/$day.jsonl" >"$events" 9>&-
code=${PIPESTATUS[0]}
cat "$errors" >>"$said"
echo "$(date -u +%FT%TZ) exit code $code" >>"$said"

if [ "$code" -ne 0 ]; then
    echo "$project: mlforge build $*: exit code $code"
    [ "$code" -ne 2 ] || echo "This is wrong usage: the next run will fail as well."
    cat "$errors"
    grep -E '^\{"event":"feature_(failed|skipped)"' "$events"
fi

find logs -name '*.log' -mtime +30 -delete -o -name '*.jsonl' -mtime +30 -delete
exit "$code"
