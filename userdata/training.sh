#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# The trainer: its container, its tmux session, and what happens while it runs.

EVENTS=   # file descriptor of the fifo where what happens is told, one word a line: ended, synced, interruption, rebalance, price
WATCHERS=() # pids of those who tell
PULL=       # pid of the early pull

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

fetch_config() {
    local path=$SOLVER_HOME/config/$JOB_CONFIG_NAME
    [[ ! -e $path || $(sha256sum <"$path") != "$JOB_CONFIG_SHA256 "* ]] || return 0
    call s3 cp --only-show-errors "s3://$JOB_BUCKET/$JOB_CONFIG_KEY" "$path" || return 1
    if [[ $(sha256sum <"$path") != "$JOB_CONFIG_SHA256 "* ]]; then
        echo "its sha256 is not what was launched" >&2
        return 1
    fi
    call s3 cp --only-show-errors "$path" "$S3/config/$JOB_CONFIG_NAME"
}

# What the job that this one resumes had written. There is no container yet, so nothing of this job is overwritten.
fetch_output() {
    limited "$SYNC_LIMIT" "${AWS_CLI[@]}" \
        s3 sync --only-show-errors --delete "s3://$JOB_BUCKET/jobs/$JOB_ORIGIN/output" "$OUTPUT" &&
        chmod -R a+rwX "$OUTPUT"
}

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
        ((wake <= EPOCHSECONDS)) || read -r -t $((wake - EPOCHSECONDS)) -u "$EVENTS" event || event=due
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

# In a tmux session of the login user, so that `tmux attach` is all it takes to see it. It belongs to Docker, not to the
# session: it goes on when somebody kills that.
start_trainer() {
    local before until terminal=(limited 30 sudo -H -u "$JOB_LOGIN_USER" -- tmux)
    step "looking at the container" keep before inspect '{{.State.StartedAt}}'
    before=$(<"$WORK/before")
    [[ -e $BALLAST ]] || { head -c "$BALLAST_BYTES" /dev/zero >"$BALLAST" || rm -f "$BALLAST"; } 2>/dev/null
    "${terminal[@]}" kill-session -t =solver 2>/dev/null # of a trainer before an interruption that did not come
    step "starting the tmux session" "${terminal[@]}" new-session -d -s solver -x 200 -y 50 \
        "exec sudo docker start --attach --interactive solver" \; \
        set-option -t solver window-size latest \; set-option -t solver status-right "$INSTANCE"
    [[ -e $STATE/started ]] || echo "$EPOCHSECONDS" | remember started
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

watch_trainer() {
    docker wait solver >/dev/null
    echo ended >&"$EVENTS"
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
    local state
    state=$(retried 5 inspect '{{.State.Running}} {{.State.ExitCode}}') || fail "Docker no longer answers"
    if [[ $state == true* ]]; then # it was `docker wait` that ended
        pause 5
        watch_trainer &
        WATCHERS+=($!)
        return 1
    fi
    EXIT_CODE=${state#* }
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
    attempt "stopping the trainer" limited $((STOP_SECONDS + 30)) docker stop -t "$STOP_SECONDS" solver
    EXIT_CODE=$(inspect '{{.State.ExitCode}}') || EXIT_CODE=
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

# Unless the machine stops because of `terminate`, which has the last word.
say_interrupted() {
    [[ $(describe "Tags[?Key=='solver:status'].Value | [0]") != terminated ]] || return 0
    enter interrupted "$PHASE"
    attempt "writing the record" put_record interrupted "$PHASE"
    wait_for_tags
}
