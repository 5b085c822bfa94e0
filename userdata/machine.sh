#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# The machine: its shutdown timer, its log, the unit the job runs in, what must be installed, and its end.

SSH_KEYS=${SOLVER_SSH_KEYS:-/etc/ssh}
SYSTEMD=${SOLVER_SYSTEMD:-/run/systemd/system} # exists where systemd is pid 1: sd_booted(3)

# Seconds.
INSTALL_LIMIT=600         # one package
POWER_OFF_PATIENCE=60     # from `shutdown` until EC2 is asked to end the instance

# The first act of every boot, and again when the deadline changes: whatever hangs later, the machine ends.
arm_timer() {
    local seconds=$((DEADLINE + DEADLINE_GRACE - EPOCHSECONDS))
    ((seconds > DEADLINE_GRACE)) || seconds=$DEADLINE_GRACE
    limited 30 shutdown -h "+$(((seconds + 59) / 60))" || log "there is no shutdown timer: exit $?"
}

# Everything printed from here on goes to the log, and from there to the console.
open_log() {
    mkdir -p "$SOLVER_HOME"/{config,output,snapshot,logs,state}
    chmod 777 "$OUTPUT" # the trainer's image may run as any user
    exec 3>&1
    exec >>"$BOOT_LOG" 2>&1 || log "there is no log file"
    tail --lines=0 --follow=name --pid=$$ "$BOOT_LOG" >&3 2>/dev/null &
    log "boot"
    deadline
}

# cloud-init's last stage lasts as long as this script, and on the ECS-optimized AMI Docker waits for the end of that
# stage ("may cause a deadlock": https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-install.html).
# So where there is systemd, the job goes on as a unit of its own. Being ordered after Docker and the network, it is told
# to stop before they are, and only the script itself is told: it can still save the checkpoint. When memory runs out,
# the trainer is to be killed, not this.
detach() {
    [[ -z ${SOLVER_DETACHED-} && -d $SYSTEMD ]] || return 1
    attempt "going on as a unit of systemd" limited 30 systemd-run --no-block --collect --unit=solver-cloud \
        --setenv=SOLVER_DETACHED=1 --property=After=docker.service --property=After=network-online.target \
        --property=KillMode=mixed --property=TimeoutStopSec=150 --property=OOMScoreAdjust=-900 \
        --property=StandardOutput=journal+console bash "$0" || return 1
    trap - EXIT
    rm -rf "$WORK"
    exit 0
}

# need COMMAND DNF-PACKAGE APT-PACKAGE YUM-PACKAGE
need() {
    command -v "$1" >/dev/null || step "installing $1" retried 3 install "${@:2}"
}

install() {
    if command -v dnf >/dev/null; then
        limited "$INSTALL_LIMIT" dnf --assumeyes --quiet install "$1"
    elif command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        local apt=(apt-get --yes --quiet --option DPkg::Lock::Timeout=300)
        limited "$INSTALL_LIMIT" "${apt[@]}" update &&
            limited "$INSTALL_LIMIT" "${apt[@]}" install --no-install-recommends "$2"
    elif command -v yum >/dev/null; then
        limited "$INSTALL_LIMIT" yum --assumeyes --quiet install "$3"
    else
        echo "no dnf, apt-get or yum to install it with" >&2
        return 1
    fi
}

# The ECS-optimized AMI is used for its Docker; this instance belongs to no cluster.
disable_ecs_agent() {
    if command -v systemctl >/dev/null && limited 30 systemctl cat ecs.service >/dev/null 2>&1; then
        attempt "disabling the ECS agent" limited 60 systemctl disable --now --no-block ecs.service
    fi
}

start_docker() {
    docker_answers && return 0
    if command -v systemctl >/dev/null; then
        limited 120 systemctl start docker
    else
        limited 120 service docker start
    fi
    retried 5 docker_answers
}

docker_answers() {
    limited "$DOCKER_LIMIT" docker version --format '{{.Server.Version}}'
}

# Whether the machine, not just this script, is being ended. Only systemd can say; without it, who else would send SIGTERM?
machine_is_stopping() {
    [[ ! -d $SYSTEMD ]] || [[ $(limited 10 systemctl is-system-running) == stopping ]]
}

# A shutdown terminates an on-demand instance (InstanceInitiatedShutdownBehavior); a spot instance whose request stops it
# on interruption can only be stopped by it, and its disk would go on costing. So that one asks EC2 for its end first.
# Either way the other follows: the machine ends without EC2's answer, too.
power_off() {
    trap - TERM INT HUP
    rm -rf "$WORK"
    if [[ -n $INSTANCE && $MARKET != on-demand ]]; then
        outlasting "$OUTAGE_TRIES" terminate_self && pause "$POWER_OFF_PATIENCE"
        log "shutting down"
        limited 30 shutdown -h now
    else
        log "shutting down"
        limited 30 shutdown -h now && pause "$POWER_OFF_PATIENCE"
        outlasting "$OUTAGE_TRIES" terminate_self
    fi
}

terminate_self() {
    log "asking EC2 to terminate $INSTANCE"
    call ec2 terminate-instances --instance-ids "$INSTANCE"
}
