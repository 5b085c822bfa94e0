#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# From the disk to S3: the output of a running trainer, the finished bundle, the logs.

SYNC= # process group of the sync under way

# sync_everything TRAINER: output and logs. TRAINER: running, stopped (it will go on), or ended.
sync_everything() {
    attempt "syncing output" sync_output "$1"
    sync_logs
}

# A snapshot that lacks a file, for want of room, is worth uploading all the same.
sync_output() {
    local code=0 tries=1
    [[ $1 != ended || ! -e $STATE/started ]] || tries=$RESULT_TRIES
    take_snapshot "$1" || code=$?
    outlasting "$tries" upload_output && return "$code"
}

upload_output() {
    s3_sync "$(time_left "$SYNC_LIMIT")" "$SNAPSHOT" output
}

take_snapshot() {
    in_group "$SYNC_LIMIT" python3 -c "$SNAPSHOT_PY" "$OUTPUT" "$SNAPSHOT" "$STATE/snapshot.json" "$1"
}

# s3_sync SECONDS DIRECTORY PREFIX. Not under `nice`, which would save the trainer nothing, and what is not in S3 yet is
# what a lost machine costs (docs/performance.md).
s3_sync() {
    in_group "$1" "${S3_CLI[@]}" sync --only-show-errors --delete "$2" "$S3/$3"
}

# Like `limited`, which puts the command into a process group of its own, where `stop_sync` would not reach it.
in_group() {
    timeout --foreground --kill-after=10 "${SOLVER_PATIENCE:-$1}" "${@:2}"
}

sync_logs() {
    [[ ! -e $STATE/started ]] || gather_logs
    attempt "syncing logs" s3_sync "$CALL_LIMIT" "$SOLVER_HOME/logs" logs
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
    sync_logs
    step "writing the record" write_record complete "done" --ended --bundle "$SNAPSHOT"
    step "uploading the record" outlasting "$RESULT_TRIES" send_record
    OUTCOME=complete
}

upload_bundle() {
    s3_sync "$(time_left "$UPLOAD_LIMIT")" "$SNAPSHOT" bundle
}
