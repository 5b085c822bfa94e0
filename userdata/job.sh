#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# The job from boot to end. Runs at every boot, and goes on from where the one before was.

main() {
    trap finish EXIT
    trap on_signal TERM INT HUP
    recall_attempts
    set_deadline
    arm_timer
    open_log
    detach
    mark_start
    mark script
    count
    identify
    need aws awscli-2 awscli awscli
    own_launch
    step "taking the job's role" outlasting "$OUTAGE_TRIES" take_job_role
    [[ -z $JOB_GPU ]] || step "asking the GPU's driver" limited "$DOCKER_LIMIT" nvidia-smi --query-gpu=name --format=csv,noheader
    begin_pull
    begin_errands
    enter starting installing "Key=solver:s3-path,Value=$S3/"
    need docker docker docker.io docker
    need tmux tmux tmux tmux
    disable_ecs_agent
    step "starting Docker" start_docker
    await_errands
    ((EPOCHSECONDS < DEADLINE)) || fail "$DEADLINE_REASON"
    if [[ -s $STATE/exit-code ]]; then # interrupted while uploading
        EXIT_CODE=$(<"$STATE/exit-code")
        begin_log
    else
        prepare_container
        until train; do
            await_stop
        done
    fi
    judge
    upload_all
}

# The machine is told to stop: by EC2 for an interruption, by `terminate`, by the timer, or by somebody on it.
on_signal() {
    is_main || exit 143
    log "told to stop"
    if [[ -n $SAVING ]]; then
        TOLD=yes
        return 0
    fi
    trap '' TERM INT HUP
    stop_errands
    ((EPOCHSECONDS < DEADLINE)) || fail "$DEADLINE_REASON"
    machine_is_stopping || fail "the job's script was told to stop"
    case $STATUS in
        interrupted) ;; # all is saved already
        running) save_for_next_boot ;;
        *) [[ -z $S3 ]] || say_interrupted ;;
    esac
    go_down
}

# Runs however the script ends.
finish() {
    trap - EXIT
    is_main || exit 143
    trap '' TERM INT HUP
    if [[ -z $OUTCOME ]]; then
        OUTCOME=failed REASON="the job's script ended unexpectedly"
    fi
    unwatch
    [[ -z $PULL ]] || kill "$PULL" 2>/dev/null
    stop_errands
    rm -f "$BALLAST"
    log "ending: $OUTCOME"
    case $OUTCOME in
        down)
            end_attempt
            rm -rf "$WORK"
            exit 0
            ;;
        complete) enter complete "done" ;;
        failed) record_failure ;;
    esac
    wait_for_tags
    cancel_spot_request
    [[ $OUTCOME != failed || -z $INSTANCE ]] || stay_for_a_look
    end_attempt
    power_off
}

# The instance of a failed job stays for a look, as long as was asked for, but not past the deadline.
stay_for_a_look() {
    local until=$((EPOCHSECONDS + JOB_KEEP_SECONDS)) told=
    ((until < DEADLINE)) || until=$DEADLINE
    ((JOB_KEEP_SECONDS > 0 && until > EPOCHSECONDS)) || return 0
    trap 'told=yes' TERM INT HUP
    attempt "staying for a look" call ec2 create-tags --resources "$INSTANCE" \
        --tags "Key=solver:kept-until,Value=$(date --date="@$until" +%FT%TZ)"
    [[ -n $told ]] || pause $((until - EPOCHSECONDS))
}

main "$@"
