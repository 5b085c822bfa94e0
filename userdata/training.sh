#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# What happens while the trainer runs, and what its end means, wherever that is: container.sh or child.sh starts it.

EVENTS=   # file descriptor of the fifo where what happens is told, one word a line: ended, synced, interruption, rebalance, price
WATCHERS=() # pids of those who tell

# Returns 0 when the trainer has ended by itself, with its code in EXIT_CODE, and 1 when EC2 is about to stop the instance.
train() {
    local event due=$((EPOCHSECONDS + JOB_SYNC_SECONDS)) wake
    [[ -p $WORK/events ]] || mkfifo "$WORK/events"
    exec {EVENTS}<>"$WORK/events"
    start_trainer
    enter running training
    attempt "writing the record" put_record running training
    watch
    while ((EPOCHSECONDS < DEADLINE)); do
        wake=$((due < DEADLINE ? due : DEADLINE))
        event=due
        ((wake <= EPOCHSECONDS)) || await_event $((wake - EPOCHSECONDS))
        case $event in
            due) ((EPOCHSECONDS < due)) || { start_sync && due=$JOB_DEADLINE; } ;;
            rebalance) [[ -n $SYNC ]] || due=$EPOCHSECONDS ;;
            synced) SYNC='' due=$((EPOCHSECONDS + JOB_SYNC_SECONDS)) ;;
            price) take_price ;;
            ended) look_at_end && return 0 ;;
            interruption)
                enter running stopping
                save_for_next_boot
                return 1
                ;;
        esac
    done
    enter running stopping
    stop_trainer
    fail "$DEADLINE_REASON"
}

# Sets `event` of its caller, within so many seconds, or leaves it. A trap that runs within `read -t` is left in its
# middle, for what comes after the `read`, at its first command substitution after the time is up (bash 5.2:
# check_read_timeout in builtins/read.def). So a signal only ends the `read`, and is answered after it, before any event.
await_event() {
    trap 'TOLD=yes; echo told >&"$EVENTS"' TERM INT HUP
    read -r -t "$1" -u "$EVENTS" event || event=due
    trap on_signal TERM INT HUP
    [[ -z $TOLD ]] || on_signal
}

watch() {
    WATCHERS=()
    watch_trainer &
    WATCHERS+=($!)
    [[ $MARKET == spot ]] || return 0
    watch_spot &
    WATCHERS+=($!)
    watch_price &
    WATCHERS+=($!)
}

# EC2 recommends to look every 5 seconds:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
watch_spot() {
    local rebalance=
    while sleep 5; do
        if imds meta-data/spot/instance-action 2>/dev/null; then
            echo interruption >&"$EVENTS"
            return 0
        fi
        if [[ -z $rebalance ]] && imds meta-data/events/recommendations/rebalance 2>/dev/null; then
            rebalance=told
            echo rebalance >&"$EVENTS"
        fi
    done
}

watch_price() {
    while sleep "$PRICE_SECONDS"; do
        ! ask_price || echo price >&"$EVENTS"
    done
}

unwatch() {
    ((${#WATCHERS[@]} == 0)) || kill "${WATCHERS[@]}" 2>/dev/null
    WATCHERS=()
}

# Whether the trainer has really ended; sets EXIT_CODE.
look_at_end() {
    trainer_ended || return 1
    # When the machine goes down, the trainer may be told before this script is: then its end is no failure.
    ((EXIT_CODE <= 128)) || pause 5
    unwatch
    stop_sync
    rm -f "$BALLAST"
    echo "$EXIT_CODE" | remember exit-code
    log "the trainer has ended: exit code $EXIT_CODE"
}

# The trainer gets SIGTERM, and time for a checkpoint.
stop_trainer() {
    unwatch
    stop_sync
    rm -f "$BALLAST"
    attempt "stopping the trainer" end_trainer
    EXIT_CODE=$(exit_code) || EXIT_CODE=
}

# The disk will be there at the next boot; S3 gets what is needed if that never comes.
save_for_next_boot() {
    SAVING=yes PHASE=stopping
    stop_trainer
    EXIT_CODE=
    sync_everything stopped
    say_interrupted
    SAVING=
}

await_stop() {
    log "waiting for EC2 to stop the instance"
    [[ -z $TOLD ]] || go_down
    pause "$INTERRUPTION_PATIENCE"
    log "EC2 has not stopped the instance: going on"
}

judge() {
    case $EXIT_CODE in
        0) ;;
        130) fail "stopped from the terminal (exit 130)" ;;
        *) fail "trainer exited with $EXIT_CODE$(signal_name)" ;;
    esac
}

signal_name() {
    ((EXIT_CODE <= 128)) || echo " (SIG$(kill -l "$EXIT_CODE"))"
}

# Where this runs is being stopped; there is nothing left to do for this script.
go_down() {
    OUTCOME=down
    exit 0
}

# A subshell that is ended before it has forgotten the traps of its parent runs them.
is_main() {
    ((BASHPID == $$))
}

# A failure must not keep another from being told: every attempt is made.
record_failure() {
    [[ -n $S3 ]] || return 1
    ! trainer_runs || stop_trainer
    stop_sync
    sync_everything ended
    attempt "writing the record" write_record failed "$PHASE" --ended &&
        attempt "uploading the record" outlasting "$OUTAGE_TRIES" send_record
    enter failed "$PHASE"
}
