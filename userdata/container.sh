#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# The trainer of an instance: a container in a tmux session.

# Seconds.
DOCKER_LIMIT=60           # one docker command that moves no data
PULL_LIMIT=1800           # one attempt at the image

BALLAST_BYTES=$((16 << 20)) # of the disk, free for the job's end if the trainer has filled the rest
LOG_OPTIONS=(--log-driver json-file --log-opt max-size=64m --log-opt max-file=2) # of the engine's own log of the trainer

# A trainer that takes all there is of memory or processes would take the script's, Docker's and sshd's share, too.
PIDS_LIMIT=8192
MEMORY_RESERVE=$((512 << 10)) # KiB, or a twentieth if that is more, but never more than a half

PULL=     # pid of the early pull
FOLLOWER= # pid of what keeps the trainer's log

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
        --env TERM=screen-256color --env TINI_KILL_PROCESS_GROUP=1 --stop-timeout "$STOP_SECONDS" ${JOB_GPU:+--gpus all} \
        --pids-limit "$PIDS_LIMIT" --memory "$(memory)k" --memory-swap "$(memory)k" "${LOG_OPTIONS[@]}" \
        --volume "$SOLVER_HOME/config:/solver/config:ro" --volume "$OUTPUT:/solver/output" \
        "$JOB_IMAGE" "${JOB_TRAINER[@]}"
}

# What the trainer may have of the machine's memory, in KiB.
memory() {
    local total reserve=$MEMORY_RESERVE
    read -r _ total _ </proc/meminfo # the first line: MemTotal
    ((reserve >= total / 20)) || reserve=$((total / 20))
    ((reserve <= total / 2)) || reserve=$((total / 2))
    echo $((total - reserve))
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
# --no-follow-symlinks: of an attempt before, there may be links, through which --delete would reach.
fetch_output() {
    local from=s3://$JOB_BUCKET/jobs/$JOB_ORIGIN
    limited "$SYNC_LIMIT" "${S3_CLI[@]}" \
        sync --only-show-errors --delete --no-follow-symlinks "$from/output" "$OUTPUT" &&
        s3 sync --only-show-errors --exclude '*' --include tree.json "$from/logs" "$WORK" &&
        restore_tree "$WORK/tree.json" && chmod -R a+rwX "$OUTPUT"
}

# In a tmux session of the login user, so that `tmux attach` is all it takes to see it. It belongs to Docker, not to the
# session: it goes on when somebody kills that.
start_trainer() {
    local before first='' terminal=(limited 30 sudo -H -u "$JOB_LOGIN_USER" -- tmux)
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
    await_start "$before" "${terminal[@]}"
    begin_log
}

# await_start BEFORE TERMINAL...: until the container has been started anew.
await_start() {
    local before=$1 until terminal=("${@:2}")
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

# Docker tells the container's first process only, and a shell in front of the trainer would end at once, and with it the
# container. So every process that listens to SIGTERM is told by itself, where the image has a shell to do that.
end_trainer() {
    local left=$((EPOCHSECONDS + STOP_SECONDS))
    limited "$STOP_SECONDS" docker exec --user 0 solver sh -c "$(declare -f lives tell_all); tell_all" >/dev/null 2>&1
    ((left -= EPOCHSECONDS, left > 5)) || left=5
    limited $((left + 30)) docker stop -t "$left" solver
}

# In the container, by whatever shell it has: SIGTERM for each process that has a handler of it, and time until they have
# ended. A process above them without one would die of SIGTERM, so it does nothing more, but dies after them.
tell_all() {
    listeners='' held=''
    for status in /proc/[0-9]*/status; do
        pid=${status#/proc/} pid=${pid%/status}
        [ "$pid" != 1 ] && [ "$pid" != $$ ] || continue
        while read -r key value _; do
            case $key in
                PPid:) eval "parent_$pid=$value" ;;
                SigCgt:) case $value in *[4567cdef]???) eval "listens_$pid=yes" && listeners="$listeners $pid" ;; esac ;;
            esac
        done <"$status"
    done
    for pid in $listeners; do
        eval "pid=\${parent_$pid}"
        while [ "$pid" -gt 1 ]; do
            eval "[ -n \"\${listens_$pid-}\" ]" || { kill -STOP "$pid" && held="$held $pid"; }
            eval "pid=\${parent_$pid-0}"
        done
    done
    for pid in $listeners; do kill -TERM "$pid"; done
    for pid in $listeners; do
        while lives "$pid"; do sleep 0.1 || sleep 1 || return 1; done
    done
    for pid in $held; do kill -TERM "$pid" && kill -CONT "$pid"; done
}

lives() {
    while read -r key value _; do
        [ "$key" != State: ] || { [ "$value" != Z ] && return 0; }
    done <"/proc/$1/status"
    return 1
}

exit_code() {
    inspect '{{.State.ExitCode}}'
}

begin_log() {
    follow_log &
    FOLLOWER=$!
}

# From the moment on at which the log before was gathered. The engine keeps the last of its own log only.
follow_log() {
    local since=0
    [[ ! -s $TRAINER_LOG ]] || since=$(date --reference="$TRAINER_LOG" +%s.%N)
    while docker logs --follow --since "$since" solver; since=$EPOCHSECONDS; trainer_runs; do
        sleep 5
    done 2>/dev/null | keep_log
}

# When the trainer has ended, its last words are soon there.
gather_logs() {
    [[ -z $FOLLOWER ]] || trainer_runs || limited 10 tail --pid="$FOLLOWER" --sleep-interval=0.1 --follow /dev/null
    gather_log
}
