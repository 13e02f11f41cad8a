#!/bin/sh
# Build the engine of this bundle, time it, run its samples and write result.json beside this file.
# Needs trtexec and a POSIX shell with coreutils, sed and awk.
set -eu

# The settings of a timing run; result.json records them.
warmup_ms=${EDGEKIT_WARMUP_MS:-500} duration_s=${EDGEKIT_DURATION_S:-5} runs=${EDGEKIT_RUNS:-3}
# Prefix of /proc, /sys, /etc and /usr/local/cuda of the board, for containers that mount them elsewhere.
root=${EDGEKIT_ROOT:-}
work='' child='' sampler='' rebuild=''

usage() {
    cat <<'HELP'
usage: sh run.sh [--samples-only] [--rebuild]
Build model.engine from model.onnx (or reuse it), time it, run the samples and write result.json.
  --samples-only  do not time the engine
  --rebuild       build the engine even if the one that is here fits

TRTEXEC                path of trtexec (default: from PATH, then /usr/src/tensorrt/bin)
EDGEKIT_KEEP_ENGINE=1  stop rather than rebuild an engine that does not fit
EDGEKIT_CACHE          folder where timing caches stay between bundles
EDGEKIT_WARMUP_MS, EDGEKIT_DURATION_S, EDGEKIT_RUNS   settings of the timing runs (500, 5, 3)
HELP
}

fail() { # code, what, what to do
    echo "$1 $2; $3" >&2
    exit 2
}

cleanup() {
    trap - EXIT INT TERM HUP
    for process in $child $sampler; do
        if kill "$process" 2>/dev/null; then wait "$process" 2>/dev/null || :; fi
    done
    if [ -n "$work" ]; then rm -rf "$work" result.json.part engine.json.part; fi
}

escaped() { printf '%s' "$1" | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g'; }
quoted() { # text: print it as a JSON string, or null when it is empty
    if [ -z "$1" ]; then printf null; else printf '"%s"' "$(escaped "$1")"; fi
}

# Catches what trtexec may write and JSON does not know (nan, inf), and a file that ends too early.
json_seems_valid() {
    awk '
        {
            gsub(/\\./, ""); gsub(/"[^"]*"/, "0"); gsub(/true|false|null/, "0")
            opened += gsub(/[{[]/, " "); closed += gsub(/[]}]/, " ")
            if ($0 ~ /[^-+0-9.eE,: \t\r]/) bad = 1
        }
        END { exit bad || !opened || opened != closed }' "$1" 2>/dev/null
}

# Print the first line of a file without NUL and carriage return.
first_line() { if [ -r "$1" ]; then tr -d '\000\r' <"$1" 2>/dev/null | sed 1q; fi; }
has_line() { [ -n "$(sed -n "/$1/p" "$2" | sed 1q)" ]; } # pattern, file
digest() { sha256sum "$1" | sed 's/ .*//'; }
size_of() { wc -c <"$1" | tr -d ' '; }

last_error() { # log: print the last error of trtexec without its time stamp, else its last line
    awk 'sub(/^.*\[E\] */, "") { error = $0 } NF && !/^&&&&/ { line = $0 } END { print error ? error : line }' "$1"
}

check_bundle() {
    for name in bundle.json bundle.env model.onnx SHA256SUMS; do
        [ -f "$name" ] || fail EK711 "$name is missing" "copy the whole bundle again"
    done
    if ! sha256sum -c SHA256SUMS >"$work/sums" 2>/dev/null; then
        bad=$(sed -n 's/^\(.*\): FAILED.*/\1/p' "$work/sums" | sed 1q)
        fail EK711 "${bad:-a file named in SHA256SUMS} is missing or is not the file the bundle was made with" \
            "copy the whole bundle again"
    fi
}

check_samples() {
    expected=$(echo "$INPUT_SHAPE" | awk -F x '{ bytes = 4; for (i = 1; i <= NF; i++) bytes *= $i; print bytes }')
    # shellcheck disable=SC2153 # bundle.env sets what is in capitals
    for sample in $SAMPLES; do
        file=sample/$sample.bin
        [ -f "$file" ] || fail EK711 "$file is missing" "copy the whole bundle again"
        bytes=$(size_of "$file")
        [ "$bytes" = "$expected" ] || fail EK710 \
            "$file has $bytes bytes and an input of $INPUT_SHAPE float32 takes $expected" "make the bundle again"
    done
}

find_trtexec() {
    trtexec=${TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}
    [ -x "$trtexec" ] || fail EK707 "trtexec is not at $trtexec" \
        "install TensorRT (JetPack has it), or set TRTEXEC to the path of trtexec"
    "$trtexec" --help >"$work/help" 2>&1 || :
    number=$(sed -n 's/.*\[TensorRT v\([0-9][0-9]*\)\].*/\1/p' "$work/help" | sed 1q)
    [ -n "$number" ] || fail EK707 "$trtexec does not tell its version ($(sed 1q "$work/help"))" \
        "repair the TensorRT installation, or set TRTEXEC to the path of trtexec"
    # Up to 9.x the digits are major, minor, patch, patch (8201); from 10.0 on two each (100300).
    scale=10000
    if [ "$number" -lt 10000 ]; then scale=1000; fi
    major=$((number / scale)) minor=$((number % scale / 100))
    tensorrt=$major.$minor.$((number % 100))
}

lists() { # flag: whether the help of this trtexec has it as an option of its own
    awk -v flag="$1" '{ split($1, part, /[=,[]/) } part[1] == flag { found = 1 } END { exit !found }' "$work/help"
}

choose_dialect() {
    memory=--workspace=$WORKSPACE_MIB
    if [ $((major * 100 + minor)) -ge 804 ]; then memory=--memPoolSize=workspace:$WORKSPACE_MIB; fi
    if lists --skipInference; then build_only=--skipInference; else build_only=--buildOnly; fi
    if lists --profilingVerbosity; then verbosity=--profilingVerbosity=detailed; else verbosity=--nvtxMode=verbose; fi
    # TensorRT 11 turned CUDA graphs and spinning on and transfers off; before it, their absence says the same.
    pins=''
    for flag in --noCudaGraph --noSpinWait --includeDataTransfers; do
        if [ "$major" -ge 11 ] || lists $flag; then pins="$pins $flag"; fi
    done
    precision_flags=''
    if [ "$major" -ge 11 ]; then
        [ "$TYPING/$PRECISION" != weak/fp16 ] || fail EK712 \
            "TensorRT $tensorrt knows strongly typed models only and would build this bundle in fp32" \
            "make the bundle for TensorRT $major"
    elif [ "$TYPING" = strong ]; then
        lists --stronglyTyped || fail EK712 "TensorRT $tensorrt cannot build a strongly typed model" \
            "make the bundle for TensorRT $major.$minor"
        precision_flags=--stronglyTyped
    else
        case $PRECISION in fp16) precision_flags=--fp16 ;; int8) precision_flags='--int8 --fp16' ;; esac
    fi
}

run_trtexec() { # log, arguments; sets status
    log=$1 status=0
    shift
    # In the background, so that a signal is answered at once and not when trtexec is done.
    "$trtexec" "$@" >"$log" 2>&1 &
    child=$!
    wait "$child" || status=$?
    child=''
}

explain_failure() { # log, what failed, name under which the log is kept
    cp "$1" "$3" 2>/dev/null || :
    # 35: no driver, or an older one than this CUDA needs; 100: no device.
    if has_line 'no CUDA-capable device' "$1" || has_line 'CUDA driver version is insufficient' "$1" ||
        has_line 'CUDA initialization failure with error: 35' "$1" ||
        has_line 'CUDA initialization failure with error: 100' "$1"; then
        fail EK703 "CUDA finds no GPU that it can use ($(last_error "$1"))" \
            "build on a machine with an NVIDIA GPU, and see that its driver is as new as CUDA"
    fi
    if [ "$status" = 137 ] || has_line '\[E\].*[Oo]ut *[Oo]f *[Mm]emory' "$1" || has_line bad_alloc "$1"; then
        fail EK708 "$2 ran out of memory or was killed (exit status $status; see $3)" \
            "add swap, make a bundle with a smaller workspace than $WORKSPACE_MIB MiB, or close the desktop"
    fi
    if has_line 'No space left on device' "$1" || has_line '[Ss]aving engine to file failed' "$1"; then
        fail EK706 "$2 could not write its file" "free some space or move the bundle"
    fi
    fail EK712 "$2 failed: $(last_error "$1")" "read $3"
}

manifest() { # hash of the engine, compute capability where it is known
    printf '{\n "schema": 1,\n "model": "%s",\n "precision": "%s",\n "typing": "%s",\n "workspace_mib": %s,\n' \
        "$(digest model.onnx)" "$PRECISION" "$TYPING" "$WORKSPACE_MIB"
    if [ -n "${2:-}" ]; then printf ' "compute_capability": "%s",\n' "$2"; fi
    printf ' "tensorrt": "%s",\n "device": "%s",\n "engine": "%s"\n}\n' \
        "$tensorrt" "$(escaped "${model:-unknown}")" "$1"
}

# Sets `difference` to what keeps the present engine from being used; empty when it fits.
compare_engine() {
    difference="nothing says how it was made"
    if [ ! -s engine.json ]; then return; fi
    manifest "$(digest model.engine)" >"$work/manifest"
    difference=$(awk '
        /": / {
            key = $1; sub(/^[^:]*: */, ""); sub(/, *$/, "")
            if (!now) was[key] = $0
            else if (was[key] != $0) { printf "%s%s was %s and is %s", comma, key, was[key], $0; comma = ", " }
        }' now='' engine.json now=1 "$work/manifest" | sed 's/"//g; s/: was/ was/g')
}

prepare_engine() {
    build_seconds=null
    if [ -f model.engine ] && [ -z "$rebuild" ]; then
        compare_engine
        if [ -z "$difference" ]; then return; fi
        what="the present model.engine does not fit: $difference"
        if [ "${EDGEKIT_KEEP_ENGINE:-}" = 1 ]; then fail EK709 "$what" "unset EDGEKIT_KEEP_ENGINE to rebuild it"; fi
        echo "EK709 $what; it is rebuilt" >&2
        # A timing cache of another device or version is refused or, worse, believed.
        rm -f timing.cache
    fi
    build_engine
}

build_engine() {
    needed=$(($(size_of model.onnx) * 4 / 1024 + 1))
    free=$(df -Pk . | awk 'NR == 2 { print $4 }')
    [ "${free:-$needed}" -ge "$needed" ] || fail EK706 \
        "the disk has $free KiB free and building may take $needed KiB" "free some space or move the bundle"
    # A timing cache is good for one version of TensorRT on one kind of board.
    board=$(printf %s "${model:-unknown}" | tr -c 'A-Za-z0-9' _)
    kept=${EDGEKIT_CACHE:+$EDGEKIT_CACHE/timing-$tensorrt-$board.cache}
    for cache in timing.cache "$kept"; do
        if [ -f "$cache" ]; then cp "$cache" "$work/timing.cache" && break; fi
    done
    echo "building the engine with TensorRT $tensorrt (this takes minutes)"
    started=$(date +%s)
    # shellcheck disable=SC2086 # precision_flags holds several words
    run_trtexec "$work/build.log" --onnx=model.onnx --saveEngine="$work/model.engine" "$memory" $precision_flags \
        "$build_only" --timingCacheFile="$work/timing.cache" "$verbosity"
    build_seconds=$(sed -n 's/.*Engine built in \([0-9.]*\) sec.*/\1/p' "$work/build.log" | sed -n '$p')
    build_seconds=${build_seconds:-$(($(date +%s) - started))}
    if [ "$status" != 0 ] || [ ! -s "$work/model.engine" ]; then
        explain_failure "$work/build.log" "the build" build.log
    fi
    mv "$work/build.log" build.log
    if ! { manifest "$(digest "$work/model.engine")" "$(capability build.log)" >engine.json.part &&
        rm -f engine.json &&
        mv "$work/model.engine" model.engine && mv engine.json.part engine.json; } 2>/dev/null; then
        fail EK706 "model.engine cannot be written" "free some space"
    fi
    if [ ! -s "$work/timing.cache" ]; then return; fi
    mv "$work/timing.cache" timing.cache
    if [ -n "$kept" ] && ! { cp timing.cache "$kept.$$" && mv "$kept.$$" "$kept"; } 2>/dev/null; then
        rm -f "$kept.$$"
    fi
}

read_device() {
    model=$(first_line "$root/proc/device-tree/model")
    l4t=$(first_line "$root/etc/nv_tegra_release" |
        sed -n 's/^# R\([0-9]*\) (release), REVISION: \([0-9.]*\).*/\1.\2/p')
    cuda=$(cat "$root/usr/local/cuda/version.json" "$root/usr/local/cuda/version.txt" 2>/dev/null | tr -d '\n' |
        sed -n 's/^[^0-9]*\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
    nvpmodel=$(nvpmodel -q 2>/dev/null | sed -n 's/^.*NV Power Mode: *//p' | sed 1q) || :
    cpu_file=$root/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq
    gpu_file=''
    for file in "$root"/sys/devices/gpu.0/devfreq/*/cur_freq "$root"/sys/class/devfreq/*g[pavb]*/cur_freq; do
        if [ -r "$file" ] && [ -z "$gpu_file" ]; then gpu_file=$file; fi
    done
    find_power_rail
}

# Picks the rail of the whole module by its label, else the first one. INA3221: `in_power` is mW in the layout of
# JetPack 4 (iio); later layouts (hwmon) have mV and mA.
find_power_rail() {
    power_file='' current_file='' power_label=''
    for file in "$root"/sys/bus/i2c/drivers/ina3221x/*/iio*/in_power*_input \
        "$root"/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_input; do
        name=${file##*/} folder=${file%/*} current=''
        case $name in
        in_power*) channel=${name#in_power} && label=$folder/rail_name_${channel%_input} ;;
        *) label=${file%_input}_label && current=$folder/curr${name#in} ;;
        esac
        if [ ! -r "$file" ] || { [ -n "$current" ] && [ ! -r "$current" ]; }; then continue; fi
        label=$(first_line "$label")
        case $label in *_IN | VIN_*) whole=1 ;; *) whole='' ;; esac
        if [ -n "$power_file" ] && [ -z "$whole" ]; then continue; fi
        power_file=$file current_file=$current power_label=$label
        if [ -n "$whole" ]; then break; fi
    done
}

# Without forks but for sleep: this runs beside what is being timed.
sample_sensors() {
    while :; do
        if [ -n "$power_file" ] && read -r power <"$power_file"; then
            if [ -n "$current_file" ] && read -r current <"$current_file"; then power=$((power * current / 1000)); fi
            echo "$power" >>"$work/power"
        fi
        read_clocks
        sleep 0.5 || sleep 1
    done
}

read_clocks() {
    clocks=''
    if [ -r "$cpu_file" ] && read -r clock <"$cpu_file"; then clocks="\"cpu0_khz\":$clock"; fi
    if [ -n "$gpu_file" ] && read -r clock <"$gpu_file"; then clocks="$clocks${clocks:+,}\"gpu_hz\":$clock"; fi
    echo "$clocks" >>"$work/clocks"
}

time_engine() {
    sample_sensors >/dev/null 2>&1 &
    sampler=$!
    run=1 separator=''
    while [ "$run" -le "$runs" ]; do
        echo "timing run $run of $runs"
        # shellcheck disable=SC2086 # pins holds several words
        run_trtexec "$work/run.log" --loadEngine=model.engine --warmUp="$warmup_ms" --duration="$duration_s" \
            --iterations=10 --avgRuns=10 $pins --exportTimes="$work/times.$run"
        if [ "$status" != 0 ] || ! json_seems_valid "$work/times.$run"; then
            explain_failure "$work/run.log" "timing the engine" run.log
        fi
        { printf '%s{"times":' "$separator" && cat "$work/times.$run" && printf '}'; } >>"$work/runs"
        run=$((run + 1)) separator=,
    done
    kill "$sampler" 2>/dev/null || :
    sampler=''
}

# The layers are asked for in a run of their own: not every version writes them when it only builds, and a reused
# engine has none from its build.
inspect_engine() {
    printf null >"$work/layers"
    if ! lists --exportLayerInfo; then return; fi
    # shellcheck disable=SC2086 # pins holds several words
    run_trtexec "$work/inspect.log" --loadEngine=model.engine --warmUp=0 --duration=0 --iterations=1 $pins \
        "$verbosity" --exportLayerInfo="$work/layers"
    if [ "$status" != 0 ] || ! json_seems_valid "$work/layers"; then
        printf null >"$work/layers"
    fi
}

run_samples() {
    # trtexec takes names with a colon or a comma in single quotes.
    # shellcheck disable=SC2153
    case $INPUT in *[:,]*) input="'$INPUT'" ;; *) input=$INPUT ;; esac
    separator=''
    for sample in $SAMPLES; do
        # shellcheck disable=SC2086 # pins holds several words
        run_trtexec "$work/run.log" --loadEngine=model.engine --loadInputs="$input:sample/$sample.bin" --warmUp=0 \
            --duration=0 --iterations=1 $pins --exportOutput="$work/output"
        if [ "$status" != 0 ] || ! output_values "$work/output" >"$work/values"; then
            explain_failure "$work/run.log" "running sample $sample" run.log
        fi
        { printf '%s\n"%s":[' "$separator" "$sample" && cat "$work/values" && printf ']'; } >>"$work/outputs"
        rm -f "$work/output" && separator=,
    done
}

output_values() { # file of --exportOutput: print the values of the output; what is not finite becomes null
    awk -v name="$OUTPUT" '
        { text = text $0 " " }
        END {
            # {"name" : "output", "dimensions" : "1x1000", "values" : [ 0.1, ... ]}
            start = index(text, "\"" name "\""); if (!start) exit 1
            text = substr(text, start); text = substr(text, index(text, "[") + 1)
            text = substr(text, 1, index(text, "]") - 1)
            gsub(/[ \t]/, "", text); count = split(text, value, ",")
            for (i = 1; i <= count; i++) {
                if (value[i] ~ /^[-+]?(nan|inf)/) value[i] = "null"
                else if (value[i] !~ /^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$/) exit 1
                printf "%s%s", (i > 1 ? "," : ""), value[i]
            }
            exit count < 1
        }' "$1" 2>/dev/null
}

capability() { # logs of trtexec
    cat "$@" 2>/dev/null | sed -n 's/.*Compute Capability: *\([0-9.]*\).*/\1/p' | sed 1q
}

result() {
    found=$(capability "$work"/*.log build.log)
    printf '{"schema":1,"bundle":"%s","tool":"trtexec",\n"device":{"model":%s,"l4t":%s,"tensorrt":"%s","cuda":%s,' \
        "$(digest bundle.json)" "$(quoted "$model")" "$(quoted "$l4t")" "$tensorrt" "$(quoted "$cuda")" &&
        printf '"nvpmodel":%s,"clocks":{%s},"compute_capability":%s},\n' \
            "$(quoted "$nvpmodel")" "$(sed -n '$p' "$work/clocks")" "$(quoted "$found")" &&
        printf '"engine":{"file":"model.engine","sha256":"%s","size_bytes":%s,"build_seconds":%s},\n' \
            "$(digest model.engine)" "$(size_of model.engine)" "$build_seconds" &&
        printf '"settings":{"warmup_ms":%s,"duration_s":%s,"runs":%s,' "$warmup_ms" "$duration_s" "$runs" &&
        printf '"cuda_graph":false,"spin_wait":false,"data_transfers":true},\n"runs":[' &&
        cat "$work/runs" && printf '],\n"layers":' && cat "$work/layers" && printf ',\n"outputs":{' &&
        cat "$work/outputs" && printf '},\n"power":%s}\n' "$(power_json)"
}

power_json() {
    if [ ! -s "$work/power" ]; then printf null && return; fi
    printf '{"source":%s,"unit":"mW","samples":[%s]}' "$(quoted "$power_file${power_label:+ ($power_label)}")" \
        "$(awk '{ printf "%s%s", (NR > 1 ? "," : ""), $1 }' "$work/power")"
}

summary() {
    echo "TensorRT $tensorrt on ${model:-this machine}: model.engine has $(size_of model.engine) bytes"
    if [ "$runs" -gt 0 ]; then
        tr , '\n' <"$work/runs" | sed -n 's/.*"computeMs" *: *\([-+0-9.eE]*\).*/\1/p' | sort -n | awk '
            function at(share, rank) { rank = int(share * NR); return value[rank < share * NR ? rank + 1 : rank] }
            { value[NR] = $1 }
            END { printf "compute: p50 %s ms, p90 %s ms, p99 %s ms (%d times)\n", at(.5), at(.9), at(.99), NR }'
    fi
    echo "wrote result.json: bring it back to where the bundle was made"
}

main() {
    for option; do
        case $option in
        --samples-only) runs=0 ;;
        --rebuild) rebuild=1 ;;
        --help | -h) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
        esac
    done
    CDPATH='' cd -- "$(dirname -- "$0")"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    work=$(mktemp -d ./.edgekit.XXXXXX 2>/dev/null) ||
        fail EK706 "nothing can be written in $(pwd)" "free some space, or copy the bundle to a folder of your own"
    check_bundle
    # shellcheck source=/dev/null
    . ./bundle.env
    check_samples
    find_trtexec
    choose_dialect
    read_device
    prepare_engine
    inspect_engine
    touch "$work/runs" "$work/outputs"
    read_clocks
    if [ "$runs" -gt 0 ]; then time_engine; fi
    run_samples
    if ! { result >result.json.part && mv result.json.part result.json; } 2>/dev/null; then
        fail EK706 "result.json cannot be written" "free some space"
    fi
    summary
}

main "$@"
