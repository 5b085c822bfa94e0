#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# What a job that has an instance of its own says to EC2: whose launch it is, tags, host keys, spot request; and its config.

TAGGING= # pid of the tag call under way
ERRANDS= # process group of what is asked of AWS during the boot

identify() {
    step "asking for the instance id" keep instance imds meta-data/instance-id
    INSTANCE=$(<"$WORK/instance")
    JOB=$INSTANCE S3=s3://$JOB_BUCKET/jobs/$INSTANCE
    step "asking for the market" keep market imds meta-data/instance-life-cycle
    MARKET=$(<"$WORK/market")
    log "this is $INSTANCE ($MARKET)"
}

find_spot_request() {
    [[ $MARKET == on-demand || -s $WORK/request ]] || keep request outlasting "$OUTAGE_TRIES" describe SpotInstanceRequestId
}

# describe QUERY: one fact about this instance, in JMESPath.
describe() {
    call ec2 describe-instances --instance-ids "$INSTANCE" --query "Reservations[0].Instances[0].$1" --output text
}

# A persistent spot request whose instance has been terminated starts another, with the same user data. That one finds
# the launch taken, and ends itself without touching the job's record.
own_launch() {
    local owner
    step "asking who owns this launch" keep owner outlasting "$OUTAGE_TRIES" launch_owner
    owner=$(<"$WORK/owner")
    if [[ -z $owner ]]; then
        echo "$INSTANCE" >"$WORK/owner"
        step "taking this launch" call s3 cp --only-show-errors "$WORK/owner" "s3://$JOB_BUCKET/launches/$JOB_TOKEN"
    elif [[ $owner != "$INSTANCE" ]]; then
        log "this launch belongs to $owner"
        OUTCOME=foreign
        exit 0
    fi
}

# Prints the instance id; nothing if there is none yet.
launch_owner() {
    call s3 cp --only-show-errors "s3://$JOB_BUCKET/launches/$JOB_TOKEN" - 2>"$WORK/refusal" && return 0
    local code=$?
    [[ $(<"$WORK/refusal") == *@("(404)"|NoSuchKey)* ]] && return 0
    cat "$WORK/refusal" >&2
    return "$code"
}

# enter STATUS PHASE [TAG...]: says what happens now, in one call, which nobody waits for: a tag that cannot be written
# costs no job. The calls still come one after the other.
enter() {
    STATUS=$1 PHASE=$2
    wait_for_tags
    attempt "$STATUS: $PHASE" call ec2 create-tags --resources "$INSTANCE" \
        --tags "Key=solver:status,Value=$STATUS" "Key=solver:phase,Value=$PHASE" "${@:3}" &
    TAGGING=$!
}

wait_for_tags() {
    [[ -z $TAGGING ]] || wait "$TAGGING"
    TAGGING=
}

# `attach` pins these, so that nobody can pose as the instance.
publish_host_keys() {
    cut -d ' ' -f 1,2 "$SSH_KEYS"/ssh_host_*_key.pub >"$WORK/ssh-host-keys" &&
        call s3 cp --only-show-errors "$WORK/ssh-host-keys" "$S3/ssh-host-keys"
}

cancel_spot_request() {
    local request
    [[ -n $INSTANCE && $MARKET != on-demand ]] && attempt "looking for the spot request" find_spot_request || return 0
    request=$(<"$WORK/request")
    [[ $request == sir-* ]] || return 0 # the CLI prints None for null
    attempt "cancelling $request" retried 3 call ec2 cancel-spot-instance-requests --spot-instance-request-ids "$request"
}

# What the job needs of AWS before it trains, at the same time, and while the rest of the boot goes on.
begin_errands() {
    apart run_errands
    ERRANDS=$GROUP
}

run_errands() {
    local IN_GROUP=yes # or `stop_errands` would not reach what hangs
    attempt "looking for the spot request" find_spot_request & # it is looked for again when it is to be cancelled
    errand "publishing the ssh host keys" publish_host_keys &
    errand "fetching config" fetch_config &
    errand "writing the record" put_record starting installing &
    ask_price &
    wait
}

errand() {
    attempt "$@" || echo "$FAILURE" >"$WORK/failure"
}

await_errands() {
    await "$ERRANDS"
    ERRANDS=
    [[ ! -s $WORK/failure ]] || fail "$(<"$WORK/failure")"
    [[ ! -s $WORK/price ]] || take_price
}

# A record that comes late could take the place of a later one.
stop_errands() {
    end_group "$ERRANDS"
    ERRANDS=
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

# Unless the machine stops because of `terminate`, which has the last word.
say_interrupted() {
    [[ $(describe "Tags[?Key=='solver:status'].Value | [0]") != terminated ]] || return 0
    enter interrupted "$PHASE"
    attempt "writing the record" put_record interrupted "$PHASE"
    wait_for_tags
}
