#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# What a job that has an instance of its own says to EC2: whose launch it is, tags, host keys, spot request; and its config.

TAGGING= # pid of the tag call under way
ERRANDS= # process group of what is asked of AWS during the boot

identify() {
    step "asking for the instance id" keep instance imds meta-data/instance-id
    INSTANCE=$(<"$WORK/instance")
    JOB=$INSTANCE S3=s3://$JOB_BUCKET/jobs/$INSTANCE
    [[ -z ${JOB_ROLE-} ]] || use_job_role # who makes a machine image has none
    step "asking for the market" keep market imds meta-data/instance-life-cycle
    MARKET=$(<"$WORK/market")
    log "this is $INSTANCE ($MARKET)"
}

# A child of a sweep signs its record; what an instance writes is its own.
seal() {
    return 0
}

find_spot_request() {
    [[ $MARKET == on-demand || -s $WORK/request ]] || keep request outlasting "$OUTAGE_TRIES" describe SpotInstanceRequestId
}

# describe QUERY: one fact about this instance, in JMESPath.
describe() {
    call ec2 describe-instances --instance-ids "$INSTANCE" --query "Reservations[0].Instances[0].$1" --output text
}

# In S3 an instance may touch its own job only, with a role that it takes for it (job_trust in cloud/policies.py). The AWS
# CLI asks this process again when the credentials near their end, so an upload may take longer than they last:
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
use_job_role() {
    export AWS_CONFIG_FILE=$WORK/aws-config
    printf '[profile job]\ncredential_process = bash %s\n' "$WORK/job-credentials" >"$AWS_CONFIG_FILE"
    { declare -p WORK INSTANCE JOB_ROLE AWS_CLI && declare -f job_credentials && echo job_credentials; } >"$WORK/job-credentials"
    S3_CLI=("${AWS_CLI[@]}" --profile job s3)
}

# Prints them; those of the last half hour once more. A role that is taken by a role lasts an hour:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html (role chaining)
job_credentials() {
    local held=$WORK/credentials given
    if [[ ! -s $held ]] || (($(date +%s) - $(date -r "$held" +%s) > 1800)); then
        given="Credentials.[{Version: \`1\`}, @] | merge([0], [1])"
        (umask 077 && "${AWS_CLI[@]}" sts assume-role --output json --query "$given" --role-arn "$JOB_ROLE" \
            --role-session-name "$INSTANCE" --tags "Key=job,Value=$INSTANCE" >"$held.$$" &&
            mv "$held.$$" "$held") || return 1
    fi
    cat "$held"
}

# So that the many who want them soon find them, and a role that cannot be taken is told of as such.
take_job_role() {
    job_credentials >/dev/null
}

# A persistent spot request whose instance has been terminated starts another, with the same user data. That one has no
# tags, and ends itself without touching anything. So does the later of two that the same launch has started: roles
# cannot write the tag that tells. EC2 may show a new instance late.
own_launch() {
    local try owner
    [[ ! -e $STATE/own ]] || return 0
    for ((try = 1; ; try++)); do
        step "asking who owns this launch" keep owners outlasting "$OUTAGE_TRIES" launch_owners
        [[ $(<"$WORK/owners") != *"$INSTANCE"* ]] || break
        ((try < 6)) || break
        pause 10
    done
    read -r _ owner <"$WORK/owners"
    if [[ $owner == "$INSTANCE" ]]; then
        echo yes | remember own
        return 0
    fi
    log "this launch belongs to ${owner:-another instance}"
    OUTCOME=foreign
    exit 0
}

# Those that live, the first that was launched before the others; a line for each: when, and its id.
launch_owners() {
    call ec2 describe-instances --output text --query "sort(Reservations[].Instances[].join(' ', [LaunchTime, InstanceId]))[].[@]" \
        --filters "Name=tag:solver:launch,Values=$JOB_TOKEN" Name=instance-state-name,Values=pending,running,stopping,stopped
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
        s3 cp --only-show-errors "$WORK/ssh-host-keys" "$S3/ssh-host-keys"
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
    errand "fetching programs" fetch_programs &
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
    s3 cp --only-show-errors "s3://$JOB_BUCKET/$JOB_CONFIG_KEY" "$path" || return 1
    if [[ $(sha256sum <"$path") != "$JOB_CONFIG_SHA256 "* ]]; then
        echo "its sha256 is not what was launched" >&2
        return 1
    fi
    s3 cp --only-show-errors "$path" "$S3/config/$JOB_CONFIG_NAME"
}

# What has no room in the user data.
fetch_programs() {
    local key=${JOB_PROGRAMS%/*} path=$WORK/programs
    s3 cp --only-show-errors "s3://$JOB_BUCKET/$JOB_PROGRAMS" "$path.new" || return 1
    if [[ $(sha256sum <"$path.new") != "${key##*/} "* ]]; then
        echo "their sha256 is not what was launched" >&2
        return 1
    fi
    mv "$path.new" "$path"
}

# Unless the machine stops because of `terminate`, which has the last word.
say_interrupted() {
    [[ $(describe "Tags[?Key=='solver:status'].Value | [0]") != terminated ]] || return 0
    enter interrupted "$PHASE"
    attempt "writing the record" put_record interrupted "$PHASE"
    wait_for_tags
}
