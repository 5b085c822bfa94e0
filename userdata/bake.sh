#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# A machine image: the builder's only boot. It ends stopped, for its launcher to make an image of its disk and terminate it.

DEADLINE=$JOB_DEADLINE

deadline() {
    log "deadline: $(date --date="@$DEADLINE" +%FT%TZ)"
}

main() {
    trap finish EXIT
    trap 'fail "told to stop"' TERM INT HUP
    arm_timer
    open_log
    detach
    identify
    need aws awscli-2 awscli awscli
    enter starting installing
    need docker docker docker.io docker
    need tmux tmux tmux tmux
    disable_ecs_agent
    step "starting Docker" start_docker
    enter starting "pulling image"
    step "pulling image" pull_image
    enter starting baked # a final status would free its claim for another builder
    wait_for_tags
    OUTCOME=complete
}

# What another machine must not inherit: credentials, host keys, who may log in, and what this boot has done. cloud-init
# makes keys and runs user data anew for another instance id; so it does after this one's files are gone.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/building-shared-amis.html
clean() {
    rm -rf "$HOME/.docker" "$SSH_KEYS"/ssh_host_* /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys
    limited 60 cloud-init clean --logs
    rm -rf "$SOLVER_HOME"
}

# A builder that has failed is of no use: it terminates itself. If it cannot, it stops, and `gc` finds it.
finish() {
    trap - EXIT
    trap '' TERM INT HUP
    log "ending: ${OUTCOME:=failed}"
    if [[ $OUTCOME == complete ]]; then
        clean
    else
        [[ -z $INSTANCE ]] || { enter failed "$PHASE" && wait_for_tags; }
        [[ -z $INSTANCE ]] || terminate_self
    fi
    rm -rf "$WORK"
    limited 30 shutdown -h now
}

main "$@"
