#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# One training of a sweep, from start to end, in its container of AWS Batch, which shares the machine with others. An
# attempt goes on from what the one before has left in S3. Exit code 0: complete; RETRY: not its fault, to be tried again;
# any other: failed.

RETRY=75 # EX_TEMPFAIL of sysexits.h; cloud/runner.py knows it, too
START_SECONDS=0 PRICED=$EPOCHSECONDS # the machine was there before
TRAINER=        # process group
TYPE='' ZONE='' # of the machine

main() {
    trap finish EXIT
    trap on_signal TERM INT HUP
    JOB_DEADLINE=$((EPOCHSECONDS + JOB_MAX_SECONDS))
    DEADLINE=$JOB_DEADLINE
    know_itself
    mkdir -p "$SOLVER_HOME"/{config,output,snapshot,logs,state}
    recall
    ! is_complete || go_home
    open_log
    look_at_machine
    keep_limits
    if [[ -s $STATE/exit-code ]]; then # what failed in the attempt before, came after the training
        EXIT_CODE=$(<"$STATE/exit-code")
        log "the trainer has ended already"
    else
        until train; do
            await_stop
        done
    fi
    judge
    upload_all
}

# A retried sweep's array has fewer children, which keep the numbers that they had.
know_itself() {
    local index=${AWS_BATCH_JOB_ARRAY_INDEX:-0}
    INDEX=${JOB_CHILDREN[index]-$index}
    JOB=$JOB_SWEEP/$INDEX S3=s3://$JOB_BUCKET/sweeps/$JOB
}

# The config is where no child may write; what earlier attempts have left comes to the same place on the disk.
recall() {
    local name code='' signature=''
    step "fetching the config" outlasting "$OUTAGE_TRIES" fetch_config
    step "fetching output" outlasting "$OUTAGE_TRIES" fetch_everything
    for name in attempts started timeline; do
        [[ ! -e $SOLVER_HOME/logs/$name ]] || cp "$SOLVER_HOME/logs/$name" "$STATE/$name"
    done
    [[ ! -e $SOLVER_HOME/logs/exit-code ]] || read -r code signature <"$SOLVER_HOME/logs/exit-code"
    [[ $code != 0 || $signature != "$(sign text "exit $JOB $code")" ]] || echo "$code" >"$STATE/exit-code"
    attempt "restoring links" restore_tree "$SOLVER_HOME/logs/tree.json"
    recall_attempts
}

fetch_config() {
    s3 cp --only-show-errors "s3://$JOB_BUCKET/configs/$JOB/config.yaml" "$SOLVER_HOME/config/config.yaml"
}

fetch_everything() {
    limited "$SYNC_LIMIT" "${S3_CLI[@]}" cp --only-show-errors --recursive \
        --exclude '*' --include 'output/*' --include 'logs/*' --include job.json "$S3" "$SOLVER_HOME"
}

# The children of other sweeps may write to the same places in S3, but cannot sign.
sign() {
    python3 -I -c "$SIGN_PY" "$@"
}

seal() {
    sign record "$1" >"$WORK/sealed" && mv "$WORK/sealed" "$1"
}

is_complete() {
    [[ -e $SOLVER_HOME/job.json && $(<"$SOLVER_HOME/job.json") == *'"status": "complete"'* ]] &&
        sign check "$SOLVER_HOME/job.json"
}

# The attempt before was cut off when all was done, but perhaps before it had noted its cost.
go_home() {
    log "it is complete already"
    attempt "noting what it has cost" note_cost
    trap - EXIT
    exit 0
}

# Everything printed from here on goes to the log in S3, and on to Batch's.
open_log() {
    exec > >(exec tee --append "$BOOT_LOG") 2>&1
    log "attempt ${AWS_BATCH_JOB_ATTEMPT-} of $JOB"
    mark script
}

look_at_machine() {
    local name cpus price zone dollars
    step "asking for the instance id" keep instance imds meta-data/instance-id
    step "asking for the market" keep market imds meta-data/instance-life-cycle
    step "asking for the type" keep type imds meta-data/instance-type
    step "asking for the zone" keep zone imds meta-data/placement/availability-zone
    INSTANCE=$(<"$WORK/instance") MARKET=$(<"$WORK/market") TYPE=$(<"$WORK/type") ZONE=$(<"$WORK/zone")
    while read -r name cpus price; do
        [[ $name != "$TYPE" ]] || SHARE=("$JOB_VCPUS" "$cpus") PRICE=$price
    done <<<"$JOB_TYPES"
    if [[ $MARKET == spot ]]; then
        PRICE=0
        while read -r name zone price; do
            [[ "$name $zone" != "$TYPE $ZONE" ]] || PRICE=$price
        done <<<"$JOB_SPOT_PRICES"
    fi
    PRICE=$((PRICE * SHARE[0] / SHARE[1]))
    printf -v dollars '%d.%06d' $((PRICE / 1000000)) $((PRICE % 1000000))
    log "on $INSTANCE, $TYPE in $ZONE ($MARKET); its share costs \$$dollars an hour"
    JOB_ASKED="${JOB_ASKED%\}}, \"index\": $INDEX, \"instance\": \"$INSTANCE\", \"instance_type\": \"$TYPE\",
        \"market\": \"$MARKET\", \"zone\": \"$ZONE\", \"price\": $( ((PRICE > 0)) && echo "$dollars" || echo null)}"
}

# Hours count while it runs: those in the queue, which may be many, do not.
keep_limits() {
    local line begun seconds past=0
    for line in "${PAST[@]}"; do
        read -r begun seconds _ <<<"$line"
        ((past += seconds))
    done
    ((JOB_DEADLINE -= past, 1))
    set_deadline
    deadline
    count
    ((EPOCHSECONDS < DEADLINE)) && return 0
    [[ -s $STATE/exit-code ]] || fail "$DEADLINE_REASON"
    DEADLINE=$EPOCHSECONDS # it has only to be uploaded, for which the grace is
}

# Batch's own timer, which is a little longer, is armed already.
arm_timer() {
    return 0
}

enter() {
    STATUS=$1 PHASE=$2
    log "$STATUS: $PHASE"
}

start_trainer() {
    rm -f "$WORK/exit-code"
    [[ -e $STATE/started ]] || echo "$EPOCHSECONDS" | remember started
    apart run_trainer
    TRAINER=$GROUP
    mark training
}

# A signal to the whole group ends only the `wait`, not this: it stays for the exit code. A trap that does something is
# not inherited, as one that ignores the signal would be.
run_trainer() {
    local code told=yes
    trap - EXIT
    trap 'told=yes' TERM INT HUP
    unset SOLVER_KEY
    "${JOB_TRAINER[@]}" >>"$TRAINER_LOG" 2>&1 &
    while [[ -n $told ]]; do
        told=
        wait $!
        code=$?
    done
    echo "$code" >"$WORK/exit-code"
}

watch_trainer() {
    tail --pid="$TRAINER" --follow /dev/null
    echo ended >&"$EVENTS"
}

trainer_runs() {
    [[ -n $TRAINER ]] && kill -0 -- "-$TRAINER" 2>/dev/null
}

# As with a container, nothing that it has started outlives it.
trainer_ended() {
    EXIT_CODE=$(exit_code) || EXIT_CODE=137 # it was killed with all that looked after it
    kill -KILL -- "-$TRAINER" 2>/dev/null
    return 0
}

# The whole group: a trainer behind a shell has a checkpoint to write, too. There is nothing that tells of a group's end.
end_trainer() {
    local until=$((EPOCHSECONDS + ${SOLVER_PATIENCE:-$STOP_SECONDS}))
    kill -TERM -- "-$TRAINER" 2>/dev/null
    while trainer_runs && ((EPOCHSECONDS < until)); do
        sleep 0.1
    done
    ! trainer_runs || kill -KILL -- "-$TRAINER"
}

exit_code() {
    cat "$WORK/exit-code" 2>/dev/null
}

# What the next attempt wants to know goes with the logs, each of which is one file over all attempts.
gather_logs() {
    cp "$STATE"/{started,attempts,timeline} "$SOLVER_HOME/logs/"
}

say_interrupted() {
    enter interrupted "$PHASE"
    attempt "writing the record" put_record interrupted "$PHASE"
}

# Batch ends the container: for `terminate`, at its time limit, or because the machine ends. It gives thirty seconds or,
# as our machines are made, two minutes.
on_signal() {
    is_main || exit 143
    log "told to stop"
    if [[ -n $SAVING ]]; then
        TOLD=yes
        return 0
    fi
    trap '' TERM INT HUP
    ((EPOCHSECONDS < DEADLINE)) || fail "$DEADLINE_REASON"
    ! trainer_runs || save_for_next_boot
    go_down
}

# Runs however the script ends.
finish() {
    local code=0
    trap - EXIT
    is_main || exit 143
    trap '' TERM INT HUP
    if [[ -z $OUTCOME ]]; then
        OUTCOME=failed REASON="the job's script ended unexpectedly" EXIT_CODE=
    fi
    unwatch
    rm -f "$BALLAST"
    case $OUTCOME in
        down) code=$RETRY ;;
        failed)
            code=$(failure_code)
            record_failure
            ;;
    esac
    log "ending: $OUTCOME, exit code $code"
    end_attempt
    [[ $OUTCOME == complete ]] || { keep_result && sync_logs; }
    [[ -z $INSTANCE ]] || attempt "noting what it has cost" note_cost
    rm -rf "$WORK"
    exit "$code"
}

# A training that has ended well is not repeated for what failed after it: once all that it has left is in S3, the next
# attempt only uploads.
keep_result() {
    [[ -s $STATE/exit-code && $(<"$STATE/exit-code") == 0 ]] || return 0
    attempt "keeping the output" sync_output ended || return 0
    echo "0 $(sign text "exit $JOB 0")" >"$SOLVER_HOME/logs/exit-code"
}

# Whether another attempt makes sense: not if the trainer has failed by itself, nor at the end of its time, nor for want
# of something that is not in S3.
failure_code() {
    if [[ $REASON == "$DEADLINE_REASON" || $EXIT_CODE == "$RETRY" || $REASON == *'(404)'* ]]; then
        echo 1
    elif [[ -n $EXIT_CODE && $EXIT_CODE != 0 ]]; then
        echo "$EXIT_CODE"
    else
        echo "$RETRY"
    fi
}

# An object whose name says it all, so that the costs of a thousand children can be had with one call.
note_cost() {
    local cost signature
    cost=$(spent)
    [[ $cost != - ]] || return 0
    signature=$(sign text "cost $JOB $cost") || return 1
    s3 cp --only-show-errors - \
        "s3://$JOB_BUCKET/sweeps/$JOB_SWEEP/costs/$INDEX/$cost${signature:+-${signature:0:16}}" </dev/null
}

main "$@"
