"""What a child's container has printed, as Batch keeps it: the last resort where the child has left no log in S3."""

from __future__ import annotations

from .aws import Aws, aws_errors, error_code
from .child import Child

GROUP = "/aws/batch/job"
"""https://docs.aws.amazon.com/batch/latest/userguide/using_cloudwatch_logs.html"""

LINES = 50


def last_words(aws: Aws, child: Child) -> list[str]:
    """The last lines that the container of a child's latest attempt has printed; none if Batch has kept none, or this
    user may not read them."""
    if not child.log_stream:
        return []
    with aws_errors(f"read what the container of {child.id} has printed"):
        try:
            found = aws.logs.get_log_events(
                logGroupName=GROUP, logStreamName=child.log_stream, limit=LINES, startFromHead=False
            )
        except aws.logs.exceptions.ClientError as error:
            if error_code(error) not in ("ResourceNotFoundException", "AccessDeniedException"):
                raise
            return []
    return [str(event.get("message", "")) for event in found.get("events", [])]
