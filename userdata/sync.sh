#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# From the disk to S3: the output of a running trainer, the finished bundle, the logs.

TRAINER_LOG=$SOLVER_HOME/logs/trainer.log
LOG_PART=$((4 << 20)) # bytes: so much of the beginning of what the trainer prints is kept, and at least of its end

SYNC= # process group of the sync under way

# sync_everything TRAINER: output and logs. TRAINER: running, stopped (it will go on), or ended.
sync_everything() {
    FAILURE=
    attempt "syncing output" sync_output "$1"
    note_sync "$FAILURE"
    sync_logs
}

# note_sync FAILURE: sync.json, which tells `status` and the record of the last good sync, of what came after it, and of
# what could not be saved.
note_sync() {
    local good=null left_out='{}'
    [[ -n $1 ]] || printf '"%(%FT%TZ)T"' -1 >"$WORK/synced"
    [[ ! -s $WORK/synced ]] || good=$(<"$WORK/synced")
    [[ ! -s $WORK/left-out.json ]] || left_out=$(<"$WORK/left-out.json")
    printf '{"synced_at": %s, "failed": "%s", "left_out": %s}\n' "$good" "${1//[\"\\[:cntrl:]]/ }" "$left_out" \
        >"$WORK/logs/sync.json"
}

# What a snapshot has made is worth uploading even if it lacks something, but then nothing is deleted: what it lacks may be
# in S3, from an attempt before.
sync_output() {
    local code=0 tries=1
    [[ $1 != ended || ! -e $STATE/started ]] || tries=$RESULT_TRIES
    take_snapshot "$1" || code=$?
    outlasting "$tries" upload_output && return "$code"
}

upload_output() {
    local options=()
    [[ ! -e $WORK/whole ]] || options=(--delete)
    s3_sync "$(time_left "$SYNC_LIMIT")" "$SNAPSHOT" output "${options[@]}"
}

# A child of a sweep has the programs from the beginning.
load_programs() {
    [[ -z ${SNAPSHOT_PY-} ]] || return 0
    [[ -s $WORK/programs ]] || fetch_programs || return 1
    # shellcheck source=/dev/null
    . "$WORK/programs"
}

# S3's keys have 1,024 bytes at most, and PREFIX/output/ is the beginning of each, or PREFIX/bundle/.
take_snapshot() {
    local prefix=${S3#s3://*/}
    load_programs || return 1
    rm -f "$WORK/whole"
    in_group "$SYNC_LIMIT" python3 -I -c "$SNAPSHOT_PY" "$OUTPUT" "$SNAPSHOT" "$STATE/snapshot.json" "$WORK" \
        $((1024 - ${#prefix} - 8)) "$1" && mv "$WORK/tree.json" "$WORK/logs/"
}

# restore_tree FILE: links and empty directories, as tree.json has them. Jobs of earlier versions have none.
restore_tree() {
    [[ ! -e $1 ]] || { load_programs && python3 -I -c "$RESTORE_PY" "$OUTPUT" "$1"; }
}

# s3_sync SECONDS DIRECTORY PREFIX [--delete]. Not under `nice`, which would save the trainer nothing, and what is not in S3 yet is
# what a lost machine costs (docs/performance.md).
s3_sync() {
    in_group "$1" "${S3_CLI[@]}" sync --only-show-errors "${@:4}" "$2" "$S3/$3"
}

# Like `limited`, which puts the command into a process group of its own, where `stop_sync` would not reach it.
in_group() {
    local IN_GROUP=yes
    limited "$@"
}

# What the job says of itself is in memory, and goes to S3 past a disk that is full.
sync_logs() {
    local full=
    [[ ! -e $STATE/started ]] || gather_logs
    cp "$WORK/logs/." -r "$SOLVER_HOME/logs" 2>/dev/null || full=yes
    attempt "syncing logs" s3_sync "$CALL_LIMIT" "$SOLVER_HOME/logs" logs --delete
    [[ -z $full ]] || attempt "telling of the sync" s3 cp --only-show-errors --recursive "$WORK/logs" "$S3/logs"
}

# What the trainer prints comes in here, behind what it has printed before: the beginning and the end stay, in memory.
keep_log() {
    rm -f "$WORK"/trainer.log.*
    load_programs && python3 -I -c "$KEEP_LOG_PY" "$TRAINER_LOG" "$WORK/trainer.log" "$LOG_PART"
}

# As one file; one that cannot be had does not take the place of the one before.
gather_log() {
    if print_log >"$STATE/trainer.log"; then
        mv "$STATE/trainer.log" "$TRAINER_LOG"
    else
        rm -f "$STATE/trainer.log"
    fi
}

# With a line where something is missing.
print_log() {
    local part number next=0
    for part in "$WORK"/trainer.log.*; do
        [[ -e $part ]] || return 1
        number=$((10#${part##*.}))
        ((number == next)) || printf '\n[%d bytes are missing here]\n' $(((number - next) * LOG_PART))
        cat "$part" || return 1
        next=$((number + 1))
    done
}

# Event `synced` when it is over.
start_sync() {
    apart sync_and_tell
    SYNC=$GROUP
}

sync_and_tell() {
    sync_everything running
    echo synced >&"$EVENTS"
}

# An upload that goes on behind a later one could put its older version on top.
stop_sync() {
    end_group "$SYNC"
    SYNC=
}

# The finished model. Record and bundle are of one snapshot. It may take until shortly before the shutdown timer.
upload_all() {
    enter uploading uploading
    step "finishing the bundle" take_snapshot ended
    step "uploading the bundle" outlasting "$RESULT_TRIES" upload_bundle
    note_sync ""
    sync_logs
    step "writing the record" write_record complete "done" --ended --bundle "$SNAPSHOT"
    step "uploading the record" outlasting "$RESULT_TRIES" send_record
    OUTCOME=complete
}

upload_bundle() {
    s3_sync "$(time_left "$UPLOAD_LIMIT")" "$SNAPSHOT" bundle --delete
}
