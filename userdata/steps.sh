#!/bin/bash
# shellcheck disable=SC2034  # joined with the other files, which use these
# Constants, state, the log, and how a step runs: within a time limit, and with its last words as the reason if it fails.
#
# The files of this directory become one script, behind the assignments of one job (JOB_..., and the programs, ..._PY).
#
# `return` and `exit` always name their status: within a trap, bash takes the one from before the trap otherwise.

set -u -o pipefail
# cloud-init and systemd give a script no HOME, which `docker login` wants, and no locale, which file names want.
export HOME=${HOME:-/root} LC_ALL=C.UTF-8 TZ=UTC

SOLVER_HOME=${SOLVER_HOME:-/var/lib/solver}
BOOT_LOG=$SOLVER_HOME/logs/boot.log
OUTPUT=$SOLVER_HOME/output
SNAPSHOT=$SOLVER_HOME/snapshot
STATE=$SOLVER_HOME/state
JOB= # its name in the record, once it is known: the instance id, or SWEEP/INDEX
S3=  # where all of it goes: s3://BUCKET/jobs/INSTANCE or s3://BUCKET/sweeps/SWEEP/INDEX

# Seconds.
DEADLINE_GRACE=600        # from the deadline to the shutdown timer: for the trainer's checkpoint, a last sync and the record
CALL_LIMIT=120            # one AWS call with the retries of the CLI
SYNC_LIMIT=1800           # one sync of what changed since the one before
UPLOAD_LIMIT=86400        # the bundle
HASH_LIMIT=1800           # sha256 of the bundle
STOP_SECONDS=60           # for the trainer to write a checkpoint; a spot notice comes 120 s before the end
INTERRUPTION_PATIENCE=600 # from a spot notice until EC2 has surely changed its mind

# How often AWS is asked during an outage.
OUTAGE_TRIES=5  # a minute of pauses
RESULT_TRIES=20 # a quarter of an hour: for what would be lost with the disk

BALLAST=$STATE/ballast

# What the job has come to.
INSTANCE=       # instance id
MARKET=         # spot or on-demand
STATUS=starting # as in the record and in the tag solver:status
PHASE=booting   # as in the record and in the tag solver:phase
REASON=         # one line: why it failed
EXIT_CODE=      # the trainer's
SAVING=         # yes while all is being saved for the next boot
TOLD=           # yes when the machine was told to stop meanwhile
OUTCOME=        # complete, failed, foreign (another instance owns this launch), or down (the machine is being stopped)

# Small files in memory: a full disk must not keep the job from ending well.
WORK=$(mktemp --directory --tmpdir=/dev/shm solver.XXXXXX || mktemp --directory)
mkdir "$WORK/logs"

log() {
    printf '%(%FT%TZ)T %s\n' -1 "$*"
}

# remember NAME: what it reads becomes the file NAME in STATE: whole or not at all, even if the disk is full or the power goes.
remember() {
    cat >"$STATE/$1.new" && sync "$STATE/$1.new" && mv "$STATE/$1.new" "$STATE/$1"
}

# limited SECONDS COMMAND...: SIGTERM after so long, SIGKILL ten seconds later.
# With IN_GROUP=yes it stays in the process group that it is called in, and is ended with that.
# SOLVER_PATIENCE (whole seconds) replaces every limit, so that a rehearsal need not wait for real ones.
limited() {
    local seconds=${SOLVER_PATIENCE:-$1}
    shift
    timeout ${IN_GROUP:+--foreground} --kill-after=10 "$seconds" "$@"
}

# In the background for the reason that `attempt` gives.
pause() {
    sleep "$1" &
    wait $!
}

# retried TIMES COMMAND...: until it succeeds.
retried() {
    local times=$1 try code
    shift
    for ((try = 1; ; try++)); do
        "$@" && return 0
        code=$?
        ((try < times)) || return "$code"
        pause $((try * 5))
    done
}

# outlasting TIMES COMMAND...: the same while AWS cannot be reached or credentials have expired, but not up to the shutdown
# timer. What has used up its time is not repeated.
outlasting() {
    local times=$1 try code
    shift
    for ((try = 1; ; try++)); do
        "$@" && return 0
        code=$?
        ((try < times && code != 124 && code != 137 && $(time_left 61) > 60)) || return "$code"
        pause $((try < 12 ? try * 5 : 60))
    done
}

# time_left SECONDS: so many, but not more than until two minutes before the shutdown timer, and a minute at least.
time_left() {
    local left=$((DEADLINE + DEADLINE_GRACE - 120 - EPOCHSECONDS))
    ((left < $1)) || left=$1
    echo $((left > 60 ? left : 60))
}

# attempt WHAT COMMAND...: logs what is done and what it prints. If it fails, FAILURE is WHAT and its last line.
# The command runs in the background because bash answers a signal at once in `wait`, but not before the end of a
# command in the foreground.
attempt() {
    local what=$1 printed=$WORK/printed.$BASHPID pid code
    shift
    log "$what"
    "$@" >"$printed" 2>&1 &
    pid=$!
    wait "$pid"
    code=$?
    while kill -0 "$pid" 2>/dev/null; do # a signal was told of, not an end
        wait "$pid"
        code=$?
    done
    cat "$printed"
    if ((code != 0)); then
        FAILURE="$what: $(last_words "$code" "$printed")"
        log "failed (exit $code): $FAILURE"
    fi
    rm -f "$printed"
    return "$code"
}

last_words() {
    local line last="exit code $1"
    if (($1 == 124 || $1 == 137)); then # of `timeout`
        echo "timed out"
        return 0
    fi
    while IFS=$'\r' read -r line; do
        [[ -z ${line// /} ]] || last=$line
    done <"$2"
    echo "${last:0:300}"
}

# apart COMMAND...: in the background and in a process group of its own, GROUP, to be ended with all that it has started.
apart() {
    set -m
    "$@" &
    GROUP=$!
    set +m
}

end_group() {
    [[ -n $1 ]] || return 0
    kill -- "-$1" 2>/dev/null
    wait "$1"
}

# await PID: a signal ends a `wait`, too.
await() {
    while [[ -n $1 ]] && kill -0 "$1" 2>/dev/null; do
        wait "$1"
    done
}

# mark MOMENT [SECONDS]: when the first boot had come so far, now or then; the record's timeline.
mark() {
    [[ -e $STATE/timeline && $(<"$STATE/timeline") == *"$1 "* ]] || echo "$1 ${2:-$EPOCHSECONDS}" >>"$STATE/timeline"
}

# When the machine began to run, as its kernel has it; a container has its host's, which is older than the launch.
mark_start() {
    local up
    read -r up _ </proc/uptime
    ((EPOCHSECONDS - ${up%.*} < JOB_LAUNCHED_AT)) || mark running $((EPOCHSECONDS - ${up%.*}))
}

# step WHAT COMMAND...: an attempt that the job cannot do without.
step() {
    attempt "$@" || fail "$FAILURE"
}

fail() {
    OUTCOME=failed REASON=$1
    log "failed while $PHASE: $REASON"
    exit 1
}
