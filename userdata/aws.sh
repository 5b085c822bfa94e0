#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# What the job says to AWS: who the instance is, whose launch it is, tags, record, host keys, spot request.

export AWS_DEFAULT_REGION=$JOB_REGION AWS_REGION=$JOB_REGION AWS_PAGER=
export AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=5
# A role's credentials can take some seconds to appear on a new instance.
export AWS_METADATA_SERVICE_TIMEOUT=5 AWS_METADATA_SERVICE_NUM_ATTEMPTS=6

IMDS=http://169.254.169.254/latest
TAGGING= # pid of the tag call under way
ERRANDS= # process group of what is asked of AWS during the boot

AWS_CLI=(aws --cli-connect-timeout 10 --cli-read-timeout 60)

call() {
    limited "$CALL_LIMIT" "${AWS_CLI[@]}" "$@"
}

# imds PATH: prints instance metadata, version 2; fails where there is none (404).
imds() {
    local token curl=(curl --silent --show-error --fail --max-time 5 --retry 3 --retry-connrefused)
    token=$(limited 60 "${curl[@]}" --request PUT --header "X-aws-ec2-metadata-token-ttl-seconds: 60" "$IMDS/api/token") &&
        limited 60 "${curl[@]}" --header "X-aws-ec2-metadata-token: $token" "$IMDS/$1"
}

identify() {
    step "asking for the instance id" keep instance imds meta-data/instance-id
    INSTANCE=$(<"$WORK/instance")
    S3=s3://$JOB_BUCKET/jobs/$INSTANCE
    step "asking for the market" keep market imds meta-data/instance-life-cycle
    MARKET=$(<"$WORK/market")
    log "this is $INSTANCE ($MARKET)"
}

# keep NAME COMMAND...: its output becomes the file NAME, since a variable set within a step is lost with its subshell.
keep() {
    local name=$1
    shift
    "$@" >"$WORK/$name"
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

# put_record STATUS PHASE [--ended] [--bundle DIRECTORY]: what is known of the job now, as job.json.
put_record() {
    write_record "$@" && send_record
}

write_record() {
    local started=
    [[ ! -e $STATE/started ]] || started=$(<"$STATE/started")
    print_attempts open >"$WORK/attempts"
    limited "$HASH_LIMIT" python3 -c "$RECORD_PY" --job "$INSTANCE" --status "$1" --phase "$2" \
        --reason "$REASON" --exit-code "$EXIT_CODE" --asked "$JOB_ASKED" --launched-at "$JOB_LAUNCHED_AT" \
        --started-at "$started" --attempts "$WORK/attempts" --timeline "$STATE/timeline" "${@:3}" >"$WORK/job.json"
}

send_record() {
    call s3 cp --only-show-errors --content-type application/json "$WORK/job.json" "$S3/job.json"
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
    errand "looking for the spot request" find_spot_request &
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
