#!/bin/sh
# Builds a bundle at the far end of ssh: takes it as a tar archive from standard input, runs its program, and writes
# the answer as a tar archive to standard output. Whatever happens, its folder goes; timing caches stay.
#   $1  a word that marks where this session's output begins, and on standard output the archive
#   $2  bytes of the archive that comes in
#   $3  KiB that the build may take on the disk
set -eu
# Someone who hangs up must not kill the cleaning up.
trap '' PIPE
folder='' child='' watcher=''

fail() { # code, what, what to do
    echo "$1 $2; $3" >&2
    exit 2
}

cleanup() {
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "$watcher" ]; then kill -KILL "$watcher" 2>/dev/null || :; fi
    if [ -n "$child" ] && kill "$child" 2>/dev/null; then wait "$child" 2>/dev/null || :; fi
    if [ -n "$folder" ]; then rm -rf "$folder"; fi
}

trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
umask 077
echo "$1" >&2

store=${XDG_CACHE_HOME:-$HOME/.cache}/edgekit
if ! { mkdir -p "$store" && folder=$(mktemp -d "$store/build.XXXXXX"); } 2>/dev/null; then
    fail EK706 "nothing can be written in $store" "free some space on the device, or set XDG_CACHE_HOME there"
fi
# What a power cut left behind.
find "$store" -maxdepth 1 -name 'build.*' -mtime +1 -exec rm -rf {} + 2>/dev/null || :
free=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
[ "${free:-$3}" -ge "$3" ] || fail EK706 \
    "the disk has $free KiB free in $store and the build may take $3 KiB" "free some space on the device"
head -c "$2" | tar xof - -C "$folder" 2>/dev/null || fail EK706 \
    "the bundle cannot be unpacked in $store" "free some space on the device, and see that it has tar"

trtexec=${TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}
if [ -x "$trtexec" ]; then
    set -- "$1" sh run.sh
elif command -v python3 >/dev/null; then
    set -- "$1" python3 runner.py
else
    fail EK707 "there is neither trtexec nor python3" "install TensorRT (JetPack has it), or set PATH for ssh"
fi
mark=$1 status=0
shift
export EDGEKIT_CACHE="$store"
exec 3<&0
# A shell that was just forked loses a signal that this one has a trap for.
trap - TERM
(cd "$folder" && exec "$@") >&2 3<&- &
child=$!
trap 'exit 143' TERM
# Standard input stays open until the answer is there: when it ends, nobody waits for one any more.
(read -r _ <&3 || kill -TERM $$) >/dev/null 2>&1 &
watcher=$!
wait "$child" || status=$?
child=''
cd "$folder"
if [ "$status" != 0 ]; then
    if [ -s run.log ]; then
        tail -n 20 run.log >&2
    elif [ -s build.log ]; then
        tail -n 20 build.log >&2
    fi
    exit "$status"
fi
set -- model.engine engine.json result.json
for name in timing.cache build.log; do
    if [ -f $name ]; then set -- "$@" $name; fi
done
echo "$mark"
tar cf - "$@"
