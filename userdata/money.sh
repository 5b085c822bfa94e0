#!/bin/bash
# shellcheck disable=SC2034,SC2153  # joined with the other files, which use these
# What the job has cost, and until when it may go on. Whole numbers: micro-dollars, and micro-dollars an hour for prices.
#
# STATE/attempts has a line for each boot: when it began, seconds that EC2 bills, what they cost (- where the price is
# unknown), the last price (0 likewise), and `open`, or `ended` if the script itself has counted the last second.

# Seconds.
# EC2 bills at least a minute for each start, and the boot until this script is shorter:
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StartInstances.html
START_SECONDS=60
COUNT_SECONDS=60   # how often the attempt is counted on the disk
PRICE_SECONDS=3600 # how often EC2 is asked what a spot instance costs now

ATTEMPTS=$STATE/attempts
DEADLINE=$JOB_DEADLINE # whichever is earlier: the last hour, or the last cent at the present price
DEADLINE_REASON="max hours reached"

BEGUN=$EPOCHSECONDS                      # of this attempt
PAST=()                                  # the lines of those before
SPENT=0                                  # what they cost
PRICE=$JOB_PRICE                         # of the machine that runs; 0 if unknown
PRICED=$((EPOCHSECONDS - START_SECONDS)) # since when it is that price
COST=0                                   # of this attempt until then, times 3600: as exact as a price times seconds
SHARE=(1 1)                              # the job's vCPUs and the machine's, if others run on it, too
COUNTER=                                 # process group of what counts on the disk

# What the boots before have counted. One that was cut off has run on for a while after its last count.
recall_attempts() {
    local begun seconds cost price state
    [[ -f $ATTEMPTS ]] || return 0
    while read -r begun seconds cost price state; do
        [[ "$begun $seconds $cost $price" =~ ^[0-9]+\ [0-9]+\ ([0-9]+|-)\ [0-9]+$ ]] || continue
        if [[ $state != ended ]]; then
            ((seconds += COUNT_SECONDS))
            [[ $cost == - ]] || ((cost += (COUNT_SECONDS * price + 3599) / 3600))
        fi
        PAST+=("$begun $seconds $cost $price ended")
        [[ $cost == - ]] || ((SPENT += cost))
        ((price == 0)) || PRICE=$price
    done <"$ATTEMPTS"
}

# The disk is paid for from launch to end, whether the machine runs or is stopped.
set_deadline() {
    local now=$EPOCHSECONDS left until
    DEADLINE=$JOB_DEADLINE DEADLINE_REASON="max hours reached"
    ((JOB_BUDGET > 0 && PRICE > 0)) || return 0
    left=$(((JOB_BUDGET - SPENT) * 3600 - COST - (now - PRICED) * PRICE - (now - JOB_LAUNCHED_AT) * JOB_DISK_PRICE))
    until=$((now + left / (PRICE + JOB_DISK_PRICE)))
    ((until >= DEADLINE)) || DEADLINE=$until DEADLINE_REASON="max cost reached"
}

deadline() {
    log "deadline: $(date --date="@$DEADLINE" +%FT%TZ) (${DEADLINE_REASON% reached})"
}

# print_attempts STATE: the lines until now, this attempt being open or ended.
print_attempts() {
    local now=$EPOCHSECONDS cost=-
    ((PRICE == 0)) || cost=$(((COST + (now - PRICED) * PRICE + 3599) / 3600))
    ((${#PAST[@]} == 0)) || printf '%s\n' "${PAST[@]}"
    echo "$BEGUN $((now - BEGUN + START_SECONDS)) $cost $PRICE $1"
}

save_attempts() {
    print_attempts "$1" | remember attempts 2>/dev/null
}

# In the background, so that the longest step is counted, too.
count() {
    stop_counting
    save_attempts open || log "the attempt cannot be counted on the disk"
    apart keep_counting
    COUNTER=$GROUP
}

keep_counting() {
    while sleep "$COUNT_SECONDS"; do save_attempts open; done
}

stop_counting() {
    end_group "$COUNTER"
    COUNTER=
}

end_attempt() {
    stop_counting
    save_attempts ended
}

# An on-demand instance costs what it did at launch. Without an answer the last known price goes on.
ask_price() {
    [[ $MARKET == spot ]] && attempt "asking what the machine costs" keep price spot_price
}

# A start time of now gives the price in force, in dollars with six digits after the point:
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
spot_price() {
    local type zone
    type=$(imds meta-data/instance-type) && zone=$(imds meta-data/placement/availability-zone) &&
        call ec2 describe-spot-price-history --instance-types "$type" --availability-zone "$zone" \
            --product-descriptions Linux/UNIX --start-time "$(date +%FT%TZ)" \
            --query 'SpotPriceHistory[].[SpotPrice]' --output text
}

# spent: all attempts until now, in micro-dollars; - where the price of one is unknown.
spent() {
    local cost sum=0
    while read -r _ _ cost _; do
        [[ $cost != - ]] || { echo - && return 0; }
        ((sum += cost))
    done < <(print_attempts open)
    echo "$sum"
}

# What has been asked: seconds until now are counted at the price before, if there was one.
take_price() {
    local dollars=none price fraction before=$DEADLINE now=$EPOCHSECONDS
    read -r dollars <"$WORK/price"
    if [[ ! $dollars =~ ^([0-9]+)(\.([0-9]+))?$ ]]; then
        log "no price: $dollars"
        return 0
    fi
    fraction=${BASH_REMATCH[3]-}000000
    price=$(((10#${BASH_REMATCH[1]} * 1000000 + 10#${fraction:0:6}) * SHARE[0] / SHARE[1]))
    ((price > 0 && price != PRICE)) || return 0
    ((PRICE == 0)) || COST=$((COST + (now - PRICED) * PRICE)) PRICED=$now
    PRICE=$price
    log "the machine costs \$$dollars an hour"
    count
    set_deadline
    if ((DEADLINE != before)); then
        deadline
        arm_timer
    fi
}
