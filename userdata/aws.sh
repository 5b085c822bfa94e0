#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# How AWS is asked, by an instance's job and by a sweep's child alike: calls, instance metadata, the record.

export AWS_DEFAULT_REGION=$JOB_REGION AWS_REGION=$JOB_REGION AWS_PAGER=
export AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=5
# A role's credentials can take some seconds to appear on a new instance.
export AWS_METADATA_SERVICE_TIMEOUT=5 AWS_METADATA_SERVICE_NUM_ATTEMPTS=6

IMDS=http://169.254.169.254/latest

AWS_CLI=(aws --cli-connect-timeout 10 --cli-read-timeout 60)
S3_CLI=("${AWS_CLI[@]}" s3) # an instance uses its job's role for it

call() {
    limited "$CALL_LIMIT" "${AWS_CLI[@]}" "$@"
}

s3() {
    limited "$CALL_LIMIT" "${S3_CLI[@]}" "$@"
}

# imds PATH: prints instance metadata, version 2; fails where there is none (404).
imds() {
    local token curl=(curl --silent --show-error --fail --max-time 5 --retry 3 --retry-connrefused)
    token=$(limited 60 "${curl[@]}" --request PUT --header "X-aws-ec2-metadata-token-ttl-seconds: 60" "$IMDS/api/token") &&
        limited 60 "${curl[@]}" --header "X-aws-ec2-metadata-token: $token" "$IMDS/$1"
}

# keep NAME COMMAND...: its output becomes the file NAME, since a variable set within a step is lost with its subshell.
keep() {
    local name=$1
    shift
    "$@" >"$WORK/$name"
}

# put_record STATUS PHASE [--ended] [--bundle DIRECTORY]: what is known of the job now, as job.json.
put_record() {
    write_record "$@" && send_record
}

write_record() {
    local started=
    [[ ! -e $STATE/started ]] || started=$(<"$STATE/started")
    print_attempts open >"$WORK/attempts"
    limited "$HASH_LIMIT" python3 -I -c "$RECORD_PY" --job "$JOB" --status "$1" --phase "$2" \
        --reason "$REASON" --exit-code "$EXIT_CODE" --asked "$JOB_ASKED" --launched-at "$JOB_LAUNCHED_AT" \
        --started-at "$started" --attempts "$WORK/attempts" --timeline "$STATE/timeline" \
        --sync "$WORK/logs/sync.json" --tree "$WORK/logs/tree.json" "${@:3}" >"$WORK/job.json" &&
        seal "$WORK/job.json"
}

send_record() {
    s3 cp --only-show-errors --content-type application/json "$WORK/job.json" "$S3/job.json"
}
