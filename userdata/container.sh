#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# The trainer of an instance: a container in a tmux session.

# Seconds.
DOCKER_LIMIT=60           # one docker command that moves no data
PULL_LIMIT=1800           # one attempt at the image

BALLAST_BYTES=$((16 << 20)) # of the disk, free for the job's end if the trainer has filled the rest
PULL= # pid of the early pull

inspect() {
    limited "$DOCKER_LIMIT" docker container inspect --format "$1" solver
}

# The container is made once; a later boot starts it again, and it goes on from the output on disk.
prepare_container() {
    if inspect '{{.Id}}' >/dev/null 2>&1; then
        log "the container is there already"
        return 0
    fi
    enter starting "pulling image"
    await_pull
    step "pulling image" pull_image
    mark pulled
    if [[ -n $JOB_ORIGIN ]]; then
        enter starting "fetching output"
        step "fetching output of $JOB_ORIGIN" fetch_output
    fi
    # The terminal it gets is tmux's, which calls itself screen.
    step "creating the container" limited "$DOCKER_LIMIT" docker create --name solver --init --interactive --tty \
        --env TERM=screen-256color --stop-timeout "$STOP_SECONDS" ${JOB_GPU:+--gpus all} \
        --volume "$SOLVER_HOME/config:/solver/config:ro" --volume "$OUTPUT:/solver/output" \
        "$JOB_IMAGE" "${JOB_TRAINER[@]}"
}

# The pull is what takes longest, so it begins as soon as the job is this instance's, and the rest of the boot goes on
# meanwhile. It tries once; what comes of it, `pull_image` finds out.
begin_pull() {
    ((EPOCHSECONDS < DEADLINE)) || return 0
    { command -v docker && start_docker && { has_image || log_in_and_pull; }; } >/dev/null 2>&1 &
    PULL=$!
}

await_pull() {
    await "$PULL"
    PULL=
}

has_image() {
    limited "$DOCKER_LIMIT" docker image inspect --format '{{.Id}}' "$JOB_IMAGE"
}

pull_image() {
    has_image 2>/dev/null || retried 3 log_in_and_pull
}

log_in_and_pull() {
    call ecr get-login-password |
        limited "$DOCKER_LIMIT" docker login --username AWS --password-stdin "$JOB_REGISTRY" &&
        limited "$PULL_LIMIT" docker pull --quiet "$JOB_IMAGE"
}

# What the job that this one resumes had written. There is no container yet, so nothing of this job is overwritten.
fetch_output() {
    limited "$SYNC_LIMIT" "${S3_CLI[@]}" \
        sync --only-show-errors --delete "s3://$JOB_BUCKET/jobs/$JOB_ORIGIN/output" "$OUTPUT" &&
        chmod -R a+rwX "$OUTPUT"
}

# In a tmux session of the login user, so that `tmux attach` is all it takes to see it. It belongs to Docker, not to the
# session: it goes on when somebody kills that.
start_trainer() {
    local before until first='' terminal=(limited 30 sudo -H -u "$JOB_LOGIN_USER" -- tmux)
    step "looking at the container" keep before inspect '{{.State.StartedAt}}'
    before=$(<"$WORK/before")
    [[ -e $BALLAST ]] || { head -c "$BALLAST_BYTES" /dev/zero >"$BALLAST" || rm -f "$BALLAST"; } 2>/dev/null
    "${terminal[@]}" kill-session -t =solver 2>/dev/null # of a trainer before an interruption that did not come
    # Remembered first: a trainer can fill the disk within a moment.
    [[ -e $STATE/started ]] || { echo "$EPOCHSECONDS" | remember started && first=yes; }
    attempt "starting the tmux session" "${terminal[@]}" new-session -d -s solver -x 200 -y 50 \
        "exec sudo docker start --attach --interactive solver" \; \
        set-option -t solver window-size latest \; set-option -t solver status-right "$INSTANCE" || {
        [[ -z $first ]] || rm -f "$STATE/started"
        fail "$FAILURE"
    }
    mark training
    # Docker tells nobody that a container starts, so look while its session lives. When that is gone, either the
    # trainer has started, or starting it once more says why not.
    until=$((EPOCHSECONDS + ${SOLVER_PATIENCE:-$DOCKER_LIMIT}))
    while [[ $(inspect '{{.State.StartedAt}}') == "$before" ]]; do
        if ((EPOCHSECONDS > until)) || ! "${terminal[@]}" has-session -t =solver 2>/dev/null; then
            [[ $(inspect '{{.State.StartedAt}}') != "$before" ]] ||
                step "starting the trainer" limited "$DOCKER_LIMIT" docker start solver
            return 0
        fi
        sleep 0.2
    done
}

watch_trainer() {
    docker wait solver >/dev/null
    echo ended >&"$EVENTS"
}

trainer_runs() {
    [[ $(inspect '{{.State.Running}}' 2>/dev/null) == true ]]
}

# Whether the trainer has really ended; sets EXIT_CODE.
trainer_ended() {
    local state
    state=$(retried 5 inspect '{{.State.Running}} {{.State.ExitCode}}') || fail "Docker no longer answers"
    if [[ $state == true* ]]; then # it was `docker wait` that ended
        pause 5
        watch_trainer &
        WATCHERS+=($!)
        return 1
    fi
    EXIT_CODE=${state#* }
}

end_trainer() {
    limited $((STOP_SECONDS + 30)) docker stop -t "$STOP_SECONDS" solver
}

exit_code() {
    inspect '{{.State.ExitCode}}'
}

# The whole of what the trainer has printed; a log that cannot be had does not take the place of the one before.
gather_logs() {
    if in_group "$DOCKER_LIMIT" docker logs solver >"$STATE/trainer.log" 2>&1; then
        mv "$STATE/trainer.log" "$SOLVER_HOME/logs/trainer.log"
    else
        rm -f "$STATE/trainer.log"
    fi
}
